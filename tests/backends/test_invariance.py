"""Batch invariance, bit for bit: a row's logits depend on nothing but its own sequence.

Compared as bits over rows, slots, arrival orders, chunkings and neighbours, in both types and with
weights of eight bits, with the kernels.
"""

import asyncio
import random

import pytest

from samplers.params import SamplingParams
from server.backends.base import PromptPiece
from server.backends.torch_kernels import load_kernels
from server.engine.engine import Engine
from tests.backends.conftest import VOCAB_SIZE, fill
from tests.engine.driving import collect

PARAMS = SamplingParams(temperature=0.9, top_p=0.9, seed=5)


@pytest.fixture(autouse=True)
def _kernels(cache_dir):
    if not load_kernels(cache_dir):
        pytest.skip("no C++ compiler here: only the kernels promise bits")


def tokens(count, seed):
    return random.Random(seed).choices(range(3, VOCAB_SIZE), k=count)


def continuation(backend, slot, prompt, *, chunk=10_000, neighbours=(), steps=10):
    """Prefill, decode beside neighbours, and return the tokens and the last logits."""
    fill(backend, slot, prompt, chunk)
    backend.admit(slot, prompt, PARAMS)
    rows = [*neighbours, slot]
    random.Random(len(rows)).shuffle(rows)
    drawn = [backend.decode(rows).token_ids[rows.index(slot)] for _ in range(steps)]
    return drawn, backend.logits(slot)


@pytest.fixture(params=["float32", "bfloat16", "float32 int8", "bfloat16 int8"])
def backend(request, make_backend):
    dtype, *quantization = request.param.split()
    return make_backend(dtype=dtype, quantization=(quantization or ["none"])[0], num_slots=24, max_length=320)


@pytest.mark.parametrize("length", [1, 7, 33, 150])
def test_chunks_slots_and_neighbours_move_no_bit(backend, length):
    prompt = tokens(length, seed=length)
    alone = continuation(backend, 0, prompt)
    for slot, chunk in ((0, 1), (5, 3), (23, 16), (11, 64)):
        assert continuation(backend, slot, prompt, chunk=chunk) == alone
    others = [slot for slot in range(24) if slot != 9]
    for slot in others:
        neighbour = tokens(3 + 5 * slot, seed=100 + slot)
        fill(backend, slot, neighbour)
        backend.admit(slot, neighbour, SamplingParams(temperature=2.0, seed=slot, top_k=slot))
    for count in (1, 2, 3, 7, 8, 12, 15, 23):
        assert continuation(backend, 9, prompt, neighbours=others[:count]) == alone


def test_a_prompt_that_shares_its_chunks_with_others_has_the_same_bits(backend):
    prompt = tokens(40, seed=3)
    alone = continuation(backend, 0, prompt)
    fillers = [PromptPiece(slot, tokens(9, seed=slot), 0) for slot in (2, 3)]
    backend.prefill([fillers[0], PromptPiece(1, prompt[:20], 0), fillers[1]])
    backend.prefill([PromptPiece(1, prompt[20:-1], 20), *fillers])
    backend.admit(1, prompt, PARAMS)
    drawn = [backend.decode([1]).token_ids[0] for _ in range(10)]
    assert (drawn, backend.logits(1)) == alone


def test_what_was_drawn_has_the_bits_of_what_is_read(backend):
    prompt = tokens(30, seed=4)
    drawn, logits = continuation(backend, 0, prompt)
    fill(backend, 1, prompt + drawn)
    backend.admit(1, prompt + drawn, PARAMS)
    assert backend.logits(1) == logits


def test_a_copy_has_the_bits_of_its_source(backend):
    prompt = tokens(70, seed=8)
    alone = continuation(backend, 0, prompt)
    fill(backend, 2, prompt)
    backend.copy(2, 7, len(prompt) - 1)
    backend.admit(7, prompt, PARAMS)
    drawn = [backend.decode([7]).token_ids[0] for _ in range(10)]
    assert (drawn, backend.logits(7)) == alone


@pytest.mark.parametrize("shared", [16, 64, 96])
def test_a_prompt_that_begins_with_another_slots_has_the_bits_of_one_that_was_computed(backend, shared):
    beginning, prompt = tokens(shared, seed=2), tokens(shared, seed=2) + tokens(45, seed=3)
    alone = continuation(backend, 0, prompt)
    other = beginning + tokens(150, seed=4)
    fill(backend, 5, other, chunk=37)
    backend.admit(5, other, SamplingParams(seed=9))
    for _ in range(4):
        backend.decode([5])  # it decodes meanwhile
    backend.copy(5, 8, shared)
    for start in range(shared, len(prompt) - 1, 24):
        backend.prefill([PromptPiece(8, prompt[start : min(start + 24, len(prompt) - 1)], start)])
    backend.admit(8, prompt, PARAMS)
    drawn = [backend.decode([5, 8]).token_ids[1] for _ in range(10)]
    assert (drawn, backend.logits(8)) == alone


@pytest.mark.parametrize("how", ["prompt", "beginning", "copy"])
def test_slots_that_begin_alike_have_the_same_bits_when_one_of_them_is_written_over(backend, how):
    """They are read in one of them, 290 positions and more than one block, until that one is another sequence's."""
    prompt, another = tokens(290, seed=6), tokens(295, seed=7)
    drawn, logits = continuation(backend, 0, prompt)
    fill(backend, 2, prompt)
    for source, target in ((2, 7), (7, 9), (2, 11)):
        backend.copy(source, target, len(prompt) - 1)
    for slot in (2, 7, 9, 11):
        backend.admit(slot, prompt, PARAMS)
    for token_id in drawn[:3]:
        assert backend.decode([2, 7, 9, 11]).token_ids == [token_id] * 4
    backend.release(2)
    if how == "prompt":
        fill(backend, 2, another)
    elif how == "copy":
        fill(backend, 4, another)
        backend.copy(4, 2, len(another) - 1)
    else:  # of the old one, of which all but the last token is there
        another = prompt[:150]
    backend.admit(2, another, SamplingParams(seed=9))
    for token_id in drawn[3:]:
        assert backend.decode([9, 2, 11, 7]).token_ids[::2] == [token_id] * 2
    assert backend.logits(9) == backend.logits(11) == logits


@pytest.mark.parametrize("cache", [False, True])
def test_an_engine_draws_the_same_whether_prompts_share_their_beginnings(backend, cache):
    prompts = [tokens(70, seed=1) + tokens(20, seed=seed) for seed in range(4)]
    alone = [continuation(backend, 0, prompt)[0] for prompt in prompts]
    engine = Engine(backend, prefix_cache=cache)

    async def scenario():
        params = SamplingParams(temperature=0.9, top_p=0.9, seed=5, max_tokens=10, ignore_eos=True)
        first = await collect(engine.submit(prompts[0], params, owner=b"ann"))
        rest = [engine.submit(prompt, params, owner=b"ann") for prompt in prompts[1:]]
        return [first, *await asyncio.gather(*map(collect, rest))]

    engine.start()
    try:
        answers = asyncio.run(scenario())
    finally:
        engine.stop()
    assert [sample for [(sample, _)] in answers] == alone
    assert engine.counts.prefix_hits == cache * 3 * 64


def test_the_number_of_threads_moves_no_bit(backend, monkeypatch):
    import torch

    prompt = tokens(50, seed=1)
    alone = continuation(backend, 0, prompt)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert continuation(backend, 0, prompt) == alone
    finally:
        torch.set_num_threads(before)
