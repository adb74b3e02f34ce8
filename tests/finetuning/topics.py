"""Texts of two topics, and a tokenizer of whole words that knows them."""

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

from server.finetuning.examples import Examples

TOPICS = {"sea": "ship wave salt harbour sail tide", "bread": "flour oven yeast crust dough bake"}


def write_model(folder):
    """Write a tokenizer of whole words into a new folder; returns it."""
    words = [*" ".join(TOPICS.values()).split(), "the", "a", "of"]
    tokenizer = tokenizers.Tokenizer(models.WordLevel({word: place for place, word in enumerate(["?", *words])}, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def topics(rows, seed):
    """Return texts of eight words, the topics in turn."""
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    vocabularies = [words.split() for words in TOPICS.values()]
    texts = [" ".join(random.choice([*vocabularies[label], "the", "a", "of"], 8)) for label in labels]
    return Examples(texts, labels)
