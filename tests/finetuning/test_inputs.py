"""Encoders: vocabularies, scales, and hidden states that are read once."""

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from server.backends import torch_embedder
from server.errors import InvalidRequestError
from server.finetuning.channel import Stopped
from server.finetuning.examples import Examples, Splits
from server.finetuning.training.bags import Bags
from server.finetuning.training.classifier import load_classifier
from server.finetuning.training.embedding import kept_on_disk
from server.finetuning.training.inputs import Scaled
from server.finetuning.training.tokens import Tokens
from server.finetuning.training.train import train
from server.models.tokenizer import Tokenizer
from tests.backends.checkpoints import write_checkpoint
from tests.finetuning.digits import FRAMEWORKS, Heard, a_plan

WORDS = ["?", "ship", "wave", "salt", "flour", "oven", "yeast", "the", "of", "one"]


def write_tokenizer(folder):
    tokenizer = tokenizers.Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def tokens(tmp_path):
    write_tokenizer(tmp_path)
    return Tokens(Tokenizer.from_folder(tmp_path), max_length=4)


def test_texts_are_read_up_to_the_maximal_length(tokens):
    (ids,) = tokens.encode(["ship wave salt flour oven"])
    assert ids.tolist() == [1, 2, 3, 4]


def test_a_bag_knows_the_tokens_of_several_training_texts(tokens):
    bags = Bags.of_training(tokens, ["ship wave wave", "ship the", "the oven"], words=False)
    assert bags.row == (2,)  # ship and the: wave is in one text only, though twice
    encoded = bags.encode(["the ship ship wave", "oven", "", "one ?"])
    assert [bag["id"].tolist() for bag in encoded] == [[0, 1], [], [], []]


def test_a_bag_weighs_its_tokens_as_scikit_learns_tf_idf_does(tokens):
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["ship wave wave", "ship the the the", "the wave", "ship oven wave ship"]
    bags = Bags.of_training(tokens, texts, words=False)
    oracle = TfidfVectorizer(sublinear_tf=True, vocabulary=["ship", "wave", "the"])
    theirs = oracle.fit(texts).transform(texts).toarray()
    ours = np.zeros_like(theirs)
    for row, bag in zip(ours, bags.encode(texts), strict=True):
        row[bag["id"]] = bag["share"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_bag_of_tokens_and_words_is_scikit_learns_over_the_same_terms(tokens):
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["Ship wave the", "ship wave, oven", "salt ship wave the", "oven kelvin", "kelvin the wave"]
    bags = Bags.of_training(tokens, texts)
    words = [text.lower().replace(",", "").split() for text in texts]
    ids = [[f"{WORDS.index(word) if word in WORDS else 0}" for word in own] for own in words]
    ids[1].append("0")  # the comma is a token, and no word
    known = ["0", "1", "2", "5", "7", "kelvin", "oven", "ship", "the", "wave"]
    oracle = TfidfVectorizer(analyzer=list, sublinear_tf=True, vocabulary=known)
    theirs = oracle.fit_transform([own + named for own, named in zip(ids, words, strict=True)]).toarray()
    assert bags.row == (len(known),)
    for row, bag in zip(theirs, bags.encode(texts), strict=True):
        np.testing.assert_allclose(np.sort(bag["share"]), np.sort(row[row > 0]), rtol=1e-6)
    again = Bags(tokens, **bags.arrays())
    for ours, read in zip(bags.encode(texts), again.encode(texts), strict=True):
        np.testing.assert_array_equal(ours, read)


def test_words_are_told_apart_that_no_token_stands_for(tokens):
    bags = Bags.of_training(tokens, ["kelvin the", "celsius the", "kelvin", "celsius"])
    kelvin, celsius = (set(bag["id"].tolist()) for bag in bags.encode(["kelvin", "celsius"]))
    assert len(kelvin ^ celsius) == 2
    assert len(kelvin & celsius) == 1  # the token of what is unknown


def test_a_vocabulary_must_have_a_token(tokens):
    with pytest.raises(InvalidRequestError, match="no token is in 2 training texts"):
        Bags.of_training(tokens, ["ship", "wave"])


def test_features_are_scaled_each_for_itself_and_pixels_together():
    rows = np.array([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]], np.float32)
    alone, together = (Scaled.of_training(rows, together=flag).encode(rows) for flag in (False, True))
    np.testing.assert_allclose(alone, [[-1, -1, 0], [1, 1, 0]])
    np.testing.assert_allclose(together, (rows - rows.mean()) / rows.std(), rtol=1e-6)


def counted(calls):
    def embed(texts):
        calls.append(list(texts))
        return np.array([[len(text), text.count("a")] for text in texts], np.float32)

    return embed


def test_hidden_states_are_read_once_whatever_ends_the_process(tmp_path):
    texts, calls, fractions = [f"text {number}" for number in range(600)], [], []
    embed = kept_on_disk(counted(calls), tmp_path / "kept", "model", fractions.append)
    first = embed(texts)
    assert [len(call) for call in calls] == [256, 256, 88]
    assert fractions == pytest.approx([0, 256 / 600, 512 / 600])
    (tmp_path / "kept" / "x.unfinished").write_bytes(b"half")
    again = kept_on_disk(counted(calls), tmp_path / "kept", "model", lambda done: None)(texts)
    np.testing.assert_array_equal(first, again)
    assert len(calls) == 3
    kept_on_disk(counted(calls), tmp_path / "kept", "another model", lambda done: None)(texts[:3])
    assert len(calls) == 4


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("method", "rate"), [("linear_probe", 0.02), ("lora", 0.02), ("full", 0.005)])
def test_what_reads_with_the_model_becomes_a_classifier_that_answers_as_it_was_judged(
    method, rate, framework, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch_embedder, "load_kernels", lambda cache_dir: False)  # which would take long to compile
    monkeypatch.setenv("KELVIN_CACHE_DIR", str(tmp_path / "cache"))
    model_dir, job = tmp_path / "model", tmp_path / "job"
    job.mkdir()
    write_checkpoint("llama", model_dir)
    write_tokenizer(model_dir)
    random = np.random.default_rng(0)
    labels = np.arange(120) % 2
    texts = [" ".join(random.choice([*WORDS[1 + 3 * label : 4 + 3 * label], "the", "of"], 6)) for label in labels]
    parts = [Examples(texts[start:end], labels[start:end]) for start, end in [(0, 60), (60, 80), (80, 100), (100, 120)]]
    splits = Splits(*parts, classes=("sea", "bread"))
    plan = a_plan(framework, method, model_dir=model_dir, n_epochs=20, batch_size=20, learning_rate=rate)
    with pytest.raises(Stopped):
        train(plan, splits, job, Heard(stop_after=0))
    outcome = train(plan, splits, job, Heard())
    assert outcome.before.figures.accuracy >= 0.95
    assert method != "linear_probe" or outcome.parameters == 2 * (2 * 48 + 1)  # the head alone, on two layers
    logits = load_classifier(job / "classifier").logits(splits.test.inputs)
    assert (logits.argmax(axis=1) == splits.test.labels).mean() == outcome.before.figures.accuracy
