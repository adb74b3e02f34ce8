"""The decoder against transformers, float32: the same logits through pieces of prompts, decode steps and slots."""

import random

import pytest
import torch

from samplers.params import SamplingParams
from server.backends.base import PromptPiece
from tests.backends.conftest import TRAITS, VOCAB_SIZE, fill

TOLERANCE = 1e-4


def tokens(count, seed=0):
    return random.Random(seed).choices(range(3, VOCAB_SIZE), k=count)


@torch.no_grad()
def reference(model, token_ids):
    return model(torch.tensor([token_ids])).logits[0, -1]


def difference(backend, slot, model, token_ids):
    return (torch.tensor(backend.logits(slot)) - reference(model, token_ids)).abs().max().item()


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 300])
def test_prompts_of_any_length_give_the_logits_of_transformers(make_backend, checkpoint, trait, length):
    backend, model, prompt = make_backend(trait), checkpoint(trait)[1], tokens(length)
    fill(backend, 3, prompt, chunk=16)
    backend.admit(3, prompt, SamplingParams())
    assert difference(backend, 3, model, prompt) < TOLERANCE


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("trait", ["llama", "gpt2"])
def test_decoding_rows_at_different_positions_gives_the_logits_of_transformers(make_backend, checkpoint, trait):
    backend, model = make_backend(trait), checkpoint(trait)[1]
    sequences = {slot: tokens(length, seed=length) for slot, length in ((5, 4), (0, 40), (2, 1), (7, 19))}
    for slot, prompt in sequences.items():
        fill(backend, slot, prompt)
        backend.admit(slot, prompt, SamplingParams(seed=slot))
    for _ in range(12):
        for slot, drawn in zip(sequences, backend.decode(list(sequences)).token_ids, strict=True):
            sequences[slot].append(drawn)
    assert all(difference(backend, slot, model, token_ids) < TOLERANCE for slot, token_ids in sequences.items())


@pytest.mark.usefixtures("operators")
def test_prompts_that_share_a_chunk_do_not_see_each_other(make_backend, checkpoint):
    backend, model = make_backend(), checkpoint("llama")[1]
    first, second = tokens(30, seed=1), tokens(20, seed=2)
    backend.prefill([PromptPiece(1, first[:10], 0), PromptPiece(6, second[:-1], 0)])
    backend.prefill([PromptPiece(1, first[10:-1], 10)])
    for slot, prompt in ((1, first), (6, second)):
        backend.admit(slot, prompt, SamplingParams())
        assert difference(backend, slot, model, prompt) < TOLERANCE


@pytest.mark.usefixtures("operators")
def test_a_sequence_fills_its_slot_to_the_last_position(make_backend, checkpoint):
    backend, model, prompt = make_backend(max_length=48), checkpoint("llama")[1], tokens(40)
    fill(backend, 0, prompt)
    backend.admit(0, prompt, SamplingParams())
    while len(prompt) < 48:
        prompt.append(backend.decode([0]).token_ids[0])
    assert difference(backend, 0, model, prompt) < TOLERANCE


@pytest.mark.usefixtures("operators")
def test_a_copied_prompt_decodes_like_its_source(make_backend, checkpoint):
    backend, model, prompt = make_backend(), checkpoint("llama")[1], tokens(25)
    fill(backend, 0, tokens(60, seed=9))  # what an earlier sequence has left
    fill(backend, 4, prompt)
    backend.copy(4, 0, len(prompt) - 1)
    backend.admit(0, prompt, SamplingParams())
    assert difference(backend, 0, model, prompt) < TOLERANCE


@pytest.mark.model
def test_greedy_text_of_the_built_in_model_equals_that_of_transformers(make_backend, smollm2):
    """64 tokens on each of 8 prompts, in one batch."""
    from transformers import AutoModelForCausalLM

    from server.models.tokenizer import Tokenizer

    prompts = [
        "The lighthouse keeper",
        "Once upon a time, in a village by the sea,",
        "def fibonacci(n):\n",
        "The three laws of thermodynamics are",
        "Dear Sir or Madam,",
        "Q: What is the capital of France?\nA:",
        "1, 1, 2, 3, 5, 8,",
        "In the beginning",
    ]
    tokenizer, model = Tokenizer.from_folder(smollm2), AutoModelForCausalLM.from_pretrained(smollm2).float()
    backend = make_backend(folder=smollm2, num_slots=len(prompts), max_length=128)
    encoded = [tokenizer.encode(prompt) for prompt in prompts]
    for slot, token_ids in enumerate(encoded):
        fill(backend, slot, token_ids)
        backend.admit(slot, token_ids, SamplingParams(temperature=0.0, ignore_eos=True))
    steps = [backend.decode(range(len(prompts))).token_ids for _ in range(64)]
    for slot, token_ids in enumerate(encoded):
        expected = model.generate(
            torch.tensor([token_ids]),
            attention_mask=torch.ones(1, len(token_ids), dtype=torch.int64),
            do_sample=False,
            max_new_tokens=64,
            min_new_tokens=64,
            eos_token_id=-1,
            pad_token_id=0,
        )[0, len(token_ids) :].tolist()
        assert [step[slot] for step in steps] == expected, prompts[slot]
