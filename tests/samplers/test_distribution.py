"""Draws against exact probabilities: 20,000 each, by chi-square.

A statistic lies more than 5 deviations too high by chance once in 3 million; the streams here are fixed, so that a test
that passes goes on passing.
"""

from dataclasses import replace

import numpy as np
import pytest

from samplers.chain import process
from samplers.noise import row_key, threefry
from samplers.params import DynamicTemperature, SamplingParams
from tests import reference
from tests.samplers.conftest import NUMPY, PROMPT, chi_square_z, rows_of

DRAWS = 20_000
LOGITS = np.float32([1.5, 0.0, 2.0, -1.0, 0.5, 1.0, -0.5, 1.75, -2.0, 0.25, -3.0])
ASKED = [
    {},
    {"temperature": 0.5},
    {"temperature": 1.5},
    {"temperature": 100.0},
    {"top_k": 4},
    {"top_p": 0.8},
    {"min_p": 0.2},
    {"logit_bias": {10: 4.0, 2: -2.5}},
    {"min_tokens": 1, "stop_token_ids": (2, 7)},
    {"temperature": 1.3, "top_k": 9, "top_p": 0.9, "min_p": 0.05, "logit_bias": {3: 1.0}},
    {"typical_p": 0.6},
    {"top_n_sigma": 1.1},
    {"epsilon_cutoff": 0.08},
    {"eta_cutoff": 0.3},
    {"xtc_probability": 0.4, "xtc_threshold": 0.12},
    {"xtc_probability": 1.0, "xtc_threshold": 0.12, "temperature": 0.7},
    {"dynamic_temperature": DynamicTemperature(0.5, 2.0, 1.5)},
    {"repetition_penalty": 1.5, "allowed_token_ids": (1, 2, 3, 5, 7)},
    {"order": "vllm", "min_p": 0.3, "top_p": 0.7, "temperature": 1.4},
    {"order": "llamacpp", "typical_p": 0.7, "temperature": 1.4, "xtc_probability": 0.5, "xtc_threshold": 0.2},
    {"order": "llamacpp", "dynamic_temperature": DynamicTemperature(0.3, 1.8), "top_k": 5},
]

GENERATED = (2, 7, 3, 2, 7)
REMEMBERING = [
    {"repetition_penalty": 1.8},
    {"presence_penalty": 1.2},
    {"frequency_penalty": 0.7},
    {"no_repeat_ngram_size": 2},
    {"dry_multiplier": 1.5, "dry_allowed_length": 2},
    {"bad_words": ((5,), (7, 0))},
]


@pytest.fixture(scope="module")
def seeded_keys():
    """Derive the keys of seeds 0, 1, … all at once."""
    _, _, _, checksum = key_words(0)
    seeds = np.arange(DRAWS, dtype=np.int32)
    keys = threefry(seeds, np.zeros_like(seeds), np.zeros_like(seeds), np.full_like(seeds, checksum))
    for seed in (0, 1, DRAWS - 1):
        assert (int(keys[0][seed]), int(keys[1][seed])) == row_key(seed, PROMPT, 0)
    return keys


def key_words(seed):
    import zlib

    words = [seed, 0, 0, zlib.crc32(np.array(PROMPT, "<u4").tobytes())]
    return np.array(words, np.uint32).view(np.int32)


def many_rows(params, keys, step=0, logits=LOGITS):
    """Make a row for each key, of the same parameters, which process nothing."""
    one = rows_of([SamplingParams(**params)], len(LOGITS), step=step)
    state = one.take(np.zeros(len(keys[0]), np.int64), processes=False)
    return np.tile(logits, (len(keys[0]), 1)), replace(state, key0=keys[0], key1=keys[1])


def draw(xp, params, keys):
    """Process the one row of logits, and draw from it with every key."""
    [processed] = xp(process, LOGITS[None], rows_of([SamplingParams(**params)], len(LOGITS)))
    return xp.sample(*many_rows(params, keys, logits=processed), processes=False).token_ids


def exact(params):
    """Return the probability of every token: with XTC, of what is drawn with it and without it, as often as either."""
    given = dict(params)
    given.pop("min_tokens", None)
    acts = given.pop("xtc_probability", 0.0)
    banned = given.pop("stop_token_ids", ())
    return sum(
        share * np.array(reference.distribution(LOGITS.tolist(), banned=banned, prompt=PROMPT, **case).probabilities)
        for share, case in ((acts, given | {"xtc_probability": 1.0}), (1.0 - acts, given))
    )


@pytest.mark.parametrize("params", ASKED, ids=str)
def test_draws_of_many_seeds_have_the_exact_distribution(xp, seeded_keys, params):
    counts, probabilities = np.bincount(draw(xp, params, seeded_keys), minlength=len(LOGITS)), exact(params)
    possible = np.flatnonzero(probabilities)
    assert set(np.flatnonzero(counts)) <= set(possible)
    assert chi_square_z(counts[possible], probabilities[possible] * DRAWS) < 5


@pytest.mark.parametrize("params", REMEMBERING, ids=str)
def test_draws_after_a_history_have_the_exact_distribution(xp, seeded_keys, params):
    state = rows_of([SamplingParams(**params)], len(LOGITS), generated=GENERATED)
    [processed] = xp(process, LOGITS[None], state)
    drawn = xp.sample(*many_rows(params, seeded_keys, logits=processed), processes=False).token_ids
    counts = np.bincount(drawn, minlength=len(LOGITS))
    asked = reference.distribution(LOGITS.tolist(), prompt=PROMPT, generated=GENERATED, **params)
    probabilities = np.array(asked.probabilities)
    assert np.abs(probabilities - exact({})).max() > 0.01, "the history must matter"
    possible = np.flatnonzero(probabilities)
    assert set(np.flatnonzero(counts)) <= set(possible)
    assert chi_square_z(counts[possible], probabilities[possible] * DRAWS) < 5


def test_xtc_acts_whatever_noise_the_tokens_have(seeded_keys):
    """Draws with and without XTC, each against its own distribution: the coin says nothing of the other words."""
    params = {"xtc_probability": 0.5, "xtc_threshold": 0.12}
    drawn = draw(NUMPY, params, seeded_keys)
    coins = np.array([reference.coin(key, 0) for key in (np.stack(seeded_keys).view(np.uint32).T).tolist()])
    for acts in (True, False):
        counts = np.bincount(drawn[(coins < 0.5) == acts], minlength=len(LOGITS))
        probabilities = exact(params | {"xtc_probability": float(acts)})
        possible = np.flatnonzero(probabilities)
        assert counts.sum() == counts[possible].sum()
        assert chi_square_z(counts[possible], probabilities[possible] * counts.sum()) < 5


@pytest.mark.parametrize("by", ["samples", "prompts", "steps"])
def test_draws_of_one_seed_have_the_exact_distribution(by):
    count = 4000
    if by == "steps":
        logits, state = many_rows({}, np.repeat(np.int32([row_key(7, PROMPT, 0)]).T, count, axis=1))
        state = replace(state, step=np.arange(count, dtype=np.int32))
    else:
        keys = [row_key(7, (1, i) if by == "prompts" else PROMPT, 0 if by == "prompts" else i) for i in range(count)]
        logits, state = many_rows({}, np.int32(keys).T)
    counts = np.bincount(NUMPY.sample(logits, state, processes=False).token_ids, minlength=len(LOGITS))
    assert chi_square_z(counts, exact({}) * count) < 5


def test_successive_draws_of_a_row_are_independent(seeded_keys):
    """All pairs of a first and a second token, against the product of their probabilities."""
    first, second = (NUMPY.sample(*many_rows({}, seeded_keys, step=step), processes=False).token_ids for step in (0, 1))
    pairs = np.bincount(first * len(LOGITS) + second, minlength=len(LOGITS) ** 2)
    probabilities = exact({})
    expected = np.outer(probabilities, probabilities).ravel() * DRAWS
    common = expected > 5  # the approximation by chi-square needs counts of some size
    gathered = [np.append(values[common], values[~common].sum()) for values in (pairs, expected)]
    assert chi_square_z(*gathered) < 5
