"""The chain: its order, the greedy row, and rows that cannot be sampled and harm nobody."""

import numpy as np
import pytest

from samplers.params import SamplingParams
from tests.samplers.conftest import random_logits, rows_of

MIXED = [
    SamplingParams(),
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=0.7, top_p=0.9, seed=1),
    SamplingParams(temperature=1.3, top_k=7, min_p=0.05, logit_bias={3: 4.0}, seed=2**63 - 1),
]
POISON = {"NaN": np.nan, "all NaN": np.nan, "+inf": np.inf, "all +inf": np.inf, "all -inf": -np.inf}


def poisoned(logits, name):
    bad = logits.copy()
    bad[1, slice(None) if name.startswith("all") else slice(5, 6)] = POISON[name]
    return bad


@pytest.mark.parametrize("vocab_size", [1, 4, 211])
@pytest.mark.parametrize("name", POISON)
def test_a_row_that_is_not_finite_fails_alone(xp, name, vocab_size):
    """The other rows keep every bit."""
    params = [MIXED[0], *(SamplingParams(top_k=k, top_p=p) for k in (0, 2) for p in (1.0, 0.5)), *MIXED[1:3]]
    bad = random_logits(len(params), vocab_size)
    bad[1:5, slice(None) if name.startswith("all") else slice(0, 1)] = POISON[name]
    good = np.where(np.isfinite(bad), bad, np.float32(0.0))
    state, others = rows_of(params, vocab_size), [0, 5, 6]
    sampled, expected = xp.sample(bad, state), xp.sample(good, state)
    assert sampled.finite.tolist() == [True, False, False, False, False, True, True]
    assert sampled.token_ids[1:5].tolist() == [0, 0, 0, 0]
    assert sampled.token_ids[others].tolist() == expected.token_ids[others].tolist()
    assert np.array_equal(xp.distance(bad, state)[others], xp.distance(good, state)[others])


@pytest.mark.parametrize("options", [{}, {"processes": False}, {"truncates": False}], ids=str)
@pytest.mark.parametrize("name", POISON)
def test_a_row_that_is_not_finite_fails_on_every_path(xp, name, options):
    logits = poisoned(random_logits(3, 50), name)
    sampled = xp.sample(logits, rows_of([SamplingParams(temperature=t) for t in (1.0, 0.0, 1.0)], 50), **options)
    assert sampled.finite.tolist() == [True, False, True]
    assert sampled.token_ids[1] == 0


def test_banning_all_tokens_but_one_draws_it(xp):
    params = [SamplingParams(seed=seed, min_tokens=1, stop_token_ids=(0, 1, 3), top_p=0.1) for seed in range(50)]
    sampled = xp.sample(random_logits(50, 4), rows_of(params, 4))
    assert sampled.token_ids.tolist() == [2] * 50
    assert sampled.finite.all()


def test_banning_every_token_is_not_finite_and_ends_with_the_ban(xp):
    params = [SamplingParams(), SamplingParams(min_tokens=2, stop_token_ids=(0, 1, 2, 3)), SamplingParams()]
    logits = random_logits(3, 4)
    for step, finite in ((0, False), (1, False), (2, True)):
        sampled = xp.sample(logits, rows_of(params, 4, step=step))
        assert sampled.finite.tolist() == [True, finite, True]
    assert xp.sample(logits, rows_of(params, 4)).token_ids[1] == 0


def test_minus_a_hundred_for_every_token_leaves_the_distribution(xp):
    logits, everywhere = random_logits(50, 16), dict.fromkeys(range(16), -100.0)
    plain = xp.sample(logits, rows_of([SamplingParams()] * 50, 16))
    biased = xp.sample(logits, rows_of([SamplingParams(logit_bias=everywhere)] * 50, 16))
    assert biased.finite.all()
    assert biased.token_ids.tolist() == plain.token_ids.tolist()


@pytest.mark.parametrize("params", MIXED)
def test_a_vocabulary_of_one_token(xp, params):
    row = SamplingParams(temperature=params.temperature, top_k=params.top_k, top_p=params.top_p, min_p=params.min_p)
    sampled = xp.sample(np.float32([[-7.0]]), rows_of([row], 1))
    assert (sampled.token_ids.tolist(), sampled.finite.tolist()) == ([0], [True])
    assert (sampled.token_ids.dtype, sampled.finite.dtype) == (np.int32, np.bool_)


def test_greedy_takes_the_lowest_of_the_best(xp):
    logits = np.float32([[1.0, 3.0, 3.0, 3.0], [5.0, 5.0, 1.0, 0.0], [-np.inf, -9.0, -np.inf, -9.0]])
    params = [SamplingParams(temperature=0.0, top_k=k, top_p=0.1, seed=5) for k in (0, 1, 3)]
    assert xp.sample(logits, rows_of(params, 4)).token_ids.tolist() == [1, 0, 1]


@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e-8])
def test_the_smallest_temperatures_are_greedy_and_draw_among_ties(xp, temperature):
    params = [SamplingParams(temperature=temperature, seed=seed) for seed in range(100)]
    apart, tied = np.float32([[1.0, 3.0, 2.9, 0.0]]), np.float32([[1.0, 3.0, 3.0, 0.0]])
    assert set(xp.sample(np.repeat(apart, 100, axis=0), rows_of(params, 4)).token_ids) == {1}
    assert set(xp.sample(np.repeat(tied, 100, axis=0), rows_of(params, 4)).token_ids) == {1, 2}


def test_at_the_largest_temperatures_every_token_is_drawn_alike(xp):
    """Each of 4 tokens 500 ± 19 times of 2000; 6 deviations away once in 10^8."""
    logits = np.repeat(np.float32([[9.0, 3.0, -9.0, 0.0]]), 2000, axis=0)
    drawn = {t: xp.sample(logits, rows_of([SamplingParams(temperature=t)] * 2000, 4)).token_ids for t in (1e8, 1e308)}
    assert np.abs(np.bincount(drawn[1e308], minlength=4) - 500).max() < 6 * 19.4
    assert np.array_equal(drawn[1e8], drawn[1e308])


@pytest.mark.parametrize("top_k", [4, 5, 1000, 2**24 + 1, 2**31 - 1])
def test_a_top_k_beyond_the_vocabulary_changes_nothing(xp, top_k):
    logits = random_logits(30, 4)
    plain = rows_of([SamplingParams()] * 30, 4)
    wide = rows_of([SamplingParams(top_k=top_k)] * 30, 4)
    assert np.array_equal(xp.distance(logits, wide), xp.distance(logits, plain))
    assert np.array_equal(xp.sample(logits, wide).token_ids, xp.sample(logits, plain).token_ids)


def test_leaving_out_steps_that_are_identities_changes_nothing(xp):
    logits = random_logits(20, 211)
    state = rows_of([SamplingParams(temperature=t / 5, seed=t) for t in range(20)], 211, eos=(2,))
    whole = xp.sample(logits, state)
    for options in ({"processes": False}, {"truncates": False}, {"processes": False, "truncates": False}):
        assert np.array_equal(xp.sample(logits, state, **options).token_ids, whole.token_ids)


def test_bias_comes_before_temperature_and_top_k(xp):
    """A bias of 4 at temperature 2 moves a token by 2; added after temperature it would pass the first token by 3."""
    logits = np.float32([[5.0, 0.0, 2.0]])
    distance = xp.distance(
        logits, rows_of([SamplingParams(temperature=2.0, top_k=2, logit_bias={1: 4.0})], 3, prompt=(0,))
    )
    assert distance.tolist() == [[0.0, 0.5, np.inf]]


def test_temperature_comes_before_top_p_and_min_p(xp):
    """Probabilities 0.64 0.23 0.12 at T 1 are 0.49 0.29 0.21 at T 2: both rules keep one token more."""
    logits = np.float32([[1.7, 0.7, 0.0]] * 4)
    asked = [{"top_p": 0.6}, {"top_p": 0.6, "temperature": 2.0}, {"min_p": 0.4}, {"min_p": 0.4, "temperature": 2.0}]
    kept = xp.kept(logits, rows_of([SamplingParams(**params) for params in asked], 3))
    assert kept.sum(axis=1).tolist() == [1, 2, 1, 3]


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_a_seed_names_its_draws(xp, seed):
    logits = np.repeat(random_logits(1, 211), 40, axis=0)
    first = xp.sample(logits, rows_of([SamplingParams(seed=seed)] * 40, 211)).token_ids
    again = xp.sample(logits, rows_of([SamplingParams(seed=seed)] * 40, 211)).token_ids
    other = xp.sample(logits, rows_of([SamplingParams(seed=seed ^ 1)] * 40, 211)).token_ids
    assert np.array_equal(first, again)
    assert (first != other).sum() > 20
    assert len(set(first.tolist())) > 10  # rows are samples of one request, and differ too
