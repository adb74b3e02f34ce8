"""Draws against exact probabilities: 20,000 each, by chi-square.

A statistic lies more than 5 deviations too high by chance once in 3 million; the streams here are fixed, so that a test
that passes goes on passing.
"""

from dataclasses import replace

import numpy as np
import pytest

from samplers.noise import row_key, threefry
from samplers.params import SamplingParams
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


def many_rows(params, keys, step=0):
    """Make a row for each key, of the same parameters."""
    state = rows_of([SamplingParams(**params)], len(LOGITS), step=step).take(np.zeros(len(keys[0]), np.int64))
    return np.tile(LOGITS, (len(keys[0]), 1)), replace(state, key0=keys[0], key1=keys[1])


def exact(params):
    given = dict(params)
    given.pop("min_tokens", None)
    return reference.distribution(LOGITS.tolist(), banned=given.pop("stop_token_ids", ()), **given)


@pytest.mark.parametrize("params", ASKED, ids=str)
def test_draws_of_many_seeds_have_the_exact_distribution(xp, seeded_keys, params):
    drawn = xp.sample(*many_rows(params, seeded_keys)).token_ids
    counts, expected = np.bincount(drawn, minlength=len(LOGITS)), exact(params)
    possible = sorted(expected.kept)
    assert set(np.flatnonzero(counts)) <= set(possible)
    assert chi_square_z(counts[possible], np.array(expected.probabilities)[possible] * DRAWS) < 5


@pytest.mark.parametrize("by", ["samples", "prompts", "steps"])
def test_draws_of_one_seed_have_the_exact_distribution(by):
    count = 4000
    if by == "steps":
        logits, state = many_rows({}, np.repeat(np.int32([row_key(7, PROMPT, 0)]).T, count, axis=1))
        state = replace(state, step=np.arange(count, dtype=np.int32))
    else:
        keys = [row_key(7, (1, i) if by == "prompts" else PROMPT, 0 if by == "prompts" else i) for i in range(count)]
        logits, state = many_rows({}, np.int32(keys).T)
    counts = np.bincount(NUMPY.sample(logits, state).token_ids, minlength=len(LOGITS))
    assert chi_square_z(counts, np.array(exact({}).probabilities) * count) < 5


def test_successive_draws_of_a_row_are_independent(seeded_keys):
    """All pairs of a first and a second token, against the product of their probabilities."""
    first, second = (NUMPY.sample(*many_rows({}, seeded_keys, step=step)).token_ids for step in (0, 1))
    pairs = np.bincount(first * len(LOGITS) + second, minlength=len(LOGITS) ** 2)
    probabilities = np.array(exact({}).probabilities)
    expected = np.outer(probabilities, probabilities).ravel() * DRAWS
    common = expected > 5  # the approximation by chi-square needs counts of some size
    gathered = [np.append(values[common], values[~common].sum()) for values in (pairs, expected)]
    assert chi_square_z(*gathered) < 5
