"""Rules against repetition: n-grams and DRY by hand, and a walk of 30 steps against a search from scratch."""

import math

import numpy as np
import pytest
import torch
from transformers import NoRepeatNGramLogitsProcessor

from samplers.chain import process
from samplers.params import SamplingParams
from samplers.state import advance
from tests.reference_processors import LARGEST, closing_ngrams, dry_penalties
from tests.samplers.conftest import random_logits, rows_of
from tests.samplers.oracle import expect

FLAT = np.zeros((1, 6), np.float32)


def processed(xp, text, *, split=1, logits=FLAT, **params):
    """Process one row whose text is prompt up to the split and generated from there."""
    state = rows_of([SamplingParams(**params)], logits.shape[1], prompt=text[:split], generated=text[split:])
    return xp(process, logits, state)[0]


@pytest.mark.parametrize(
    ("text", "banned"),
    [
        ([0, 1, 2, 0, 1], {1: {0, 1, 2}, 2: {2}, 3: {2}, 4: set(), 6: set()}),
        ([3, 3, 3], {1: {3}, 2: {3}, 3: {3}, 4: set()}),
        ([0, 1, 0, 2, 0], {1: {0, 1, 2}, 2: {1, 2}, 3: set()}),
        ([0, 1, 2, 1, 1, 2, 1], {2: {1, 2}, 3: {1}, 4: {1}, 5: set()}),
        ([4], {1: {4}, 2: set(), 3: set()}),
        ([4, 4], {1: {4}, 2: {4}, 3: set()}),
    ],
    ids=str,
)
def test_a_token_that_completes_an_ngram_again_is_banned(xp, text, banned):
    for n, tokens in banned.items():
        assert closing_ngrams(text, n) == tokens
        for split in {1, len(text)}:
            found = processed(xp, text, split=split, no_repeat_ngram_size=n)
            assert set(np.flatnonzero(np.isneginf(found))) == tokens


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_ngrams_are_those_of_transformers(xp, n):
    random = np.random.default_rng(n)
    for length in (1, 2, 5, 20, 60):
        text = random.integers(0, 4, length).tolist()
        expected = NoRepeatNGramLogitsProcessor(n)(torch.tensor([text]), torch.from_numpy(FLAT))
        assert processed(xp, text, no_repeat_ngram_size=n).tolist() == expected[0].tolist()


@pytest.mark.parametrize(
    ("text", "params", "penalties"),
    [
        # The last two tokens stood before the 2; so did the last three, before no other token than it.
        ([0, 1, 2, 0, 1], {"dry_allowed_length": 2}, {2: 0.5}),
        ([0, 1, 2, 0, 1], {"dry_allowed_length": 1}, {2: 1.0}),
        ([0, 1, 2, 0, 1], {"dry_allowed_length": 3}, {}),
        # After 3 3 3, the third 3 followed two of them: L is 2 there, 1 at the second one.
        ([3, 3, 3], {"dry_allowed_length": 1}, {3: 1.0}),
        ([3, 3, 3], {"dry_allowed_length": 2}, {3: 0.5}),
        ([3, 3, 3], {"dry_allowed_length": 0}, {3: 2.0}),
        # 2 followed 0 1 once and 5 0 1 once: 3 tokens the same, the longer one applies.
        ([0, 1, 2, 5, 0, 1, 2, 5, 0, 1], {"dry_allowed_length": 2}, {2: 0.5 * 2.0**4}),
        ([1, 4, 2, 1, 3, 2, 1], {"dry_allowed_length": 1}, {4: 0.5, 3: 1.0}),
        ([1, 4, 2, 1, 3, 2, 1], {"dry_allowed_length": 1, "dry_base": 1.0}, {4: 0.5, 3: 0.5}),
        # A match of no token costs nothing, even where none is allowed.
        ([0, 1, 2], {"dry_allowed_length": 0}, {}),
    ],
    ids=str,
)
def test_dry_penalties_by_hand(xp, text, params, penalties):
    """The multiplier is 0.5 and the base 2, but where it is 1."""
    params = {"dry_multiplier": 0.5, "dry_base": 2.0, **params}
    assert (
        dry_penalties(text, *(params[f"dry_{name}"] for name in ("multiplier", "base", "allowed_length"))) == penalties
    )
    found = processed(xp, text, **params)
    assert {token: -value for token, value in enumerate(found.tolist()) if value != 0.0} == penalties


def test_a_dry_penalty_beyond_float32_does_not_ban(xp):
    found = processed(xp, [2] * 50, dry_multiplier=1e30, dry_base=1e30)
    assert found.tolist() == [0.0, 0.0, np.float32(-LARGEST), 0.0, 0.0, 0.0]
    state = rows_of([SamplingParams(dry_multiplier=1e30, dry_base=1e30, allowed_token_ids=(2,))], 6, prompt=(2,) * 50)
    sampled = xp.sample(FLAT, state)
    assert (sampled.token_ids.tolist(), sampled.finite.tolist()) == ([2], [True])


def test_a_long_allowed_length_costs_nothing(xp):
    assert not processed(xp, [2] * 60, dry_multiplier=5.0, dry_base=4.0, dry_allowed_length=2**31 - 1).any()
    assert not np.isneginf(processed(xp, [2] * 60, no_repeat_ngram_size=2**31 - 1)).any()


WALKERS = [
    SamplingParams(no_repeat_ngram_size=2, seed=1),
    SamplingParams(no_repeat_ngram_size=3, dry_multiplier=0.5, dry_allowed_length=1, seed=2),
    SamplingParams(dry_multiplier=2.0, dry_base=1.25, dry_allowed_length=0, temperature=0.5, seed=3),
    SamplingParams(repetition_penalty=1.3, frequency_penalty=0.75, presence_penalty=-0.5, seed=4),
    SamplingParams(frequency_penalty=-2.0, dry_multiplier=0.25, dry_base=3.0, top_p=0.9, seed=5),
    SamplingParams(bad_words=((0, 0), (1, 2, 1), (3,)), min_tokens=10, stop_token_ids=(4,), order="vllm", seed=6),
    SamplingParams(repetition_penalty=0.5, no_repeat_ngram_size=4, typical_p=0.9, order="llamacpp", seed=7),
    SamplingParams(xtc_probability=0.5, xtc_threshold=0.05, dry_multiplier=1.0, top_k=5, seed=8),
]


def test_thirty_steps_are_the_oracles(xp):
    """Few tokens, so that all repeats itself; each row's text grows by what the oracle draws, so that errors show."""
    vocab_size, prompt, clear = 7, (1, 2, 1, 2, 5, 1), 0
    state = rows_of(WALKERS, vocab_size, prompt=prompt)
    texts = [[] for _ in WALKERS]
    for step in range(30):
        logits = random_logits(len(WALKERS), vocab_size, seed=step, scale=1.5)
        distances, drawn = xp.distance(logits, state), xp.sample(logits, state).token_ids
        for row, params in enumerate(WALKERS):
            expected = expect(logits[row], params, prompt=prompt, generated=texts[row], sample_index=row)
            if not expected.among.kept:
                texts[row].append(0)
                continue
            if expected.among.slack > 1e-5:
                assert set(np.flatnonzero(np.isfinite(distances[row]))) == expected.among.kept, (step, params)
            if min(expected.among.slack, expected.lead) > 1e-5:
                assert drawn[row] == expected.token, (step, params)
                clear += 1
            texts[row].append(expected.token)
        state = xp(advance, state, np.int32([text[-1] for text in texts]))
    assert clear > 0.8 * 30 * len(WALKERS)
    assert all(math.isfinite(value) for value in state.temperature)


@pytest.mark.parametrize("alphabet", [1, 2, 5])
def test_matches_of_a_long_text_are_those_of_a_search(xp, alphabet):
    """DRY with the base 2 and exponents of all lengths names each match by its penalty."""
    random = np.random.default_rng(alphabet)
    text = random.integers(0, alphabet, 60).tolist()
    state = rows_of([SamplingParams(dry_multiplier=1.0, dry_base=2.0, dry_allowed_length=1)], 6, prompt=text[:1])
    for length, token in enumerate(text[1:], 2):
        state = xp(advance, state, np.int32([token]))
        penalties = dry_penalties(text[:length], 1.0, 2.0, 1)
        assert xp(process, FLAT, state)[0].tolist() == [-penalties.get(token, 0.0) for token in range(6)]
