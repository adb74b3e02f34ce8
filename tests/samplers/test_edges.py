"""Values at the ends: temperatures, bans of nearly everything, one token, ties at every boundary; all three orders."""

import numpy as np
import pytest

from samplers.params import DynamicTemperature, SamplingParams
from tests.samplers.conftest import random_logits, rows_of
from tests.samplers.oracle import expect

ORDERS = ("hf", "vllm", "llamacpp")
RULES = {
    "none": {},
    "top_n_sigma": {"top_n_sigma": 0.5},
    "top_k": {"top_k": 1},
    "top_p": {"top_p": 1e-6},
    "min_p": {"min_p": 1.0},
    "typical_p": {"typical_p": 0.01},
    "epsilon_cutoff": {"epsilon_cutoff": 0.99},
    "eta_cutoff": {"eta_cutoff": 0.99},
    "xtc": {"xtc_probability": 1.0, "xtc_threshold": 0.0},
    "all": {
        "top_n_sigma": 2.0, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.9, "epsilon_cutoff": 0.001,
        "eta_cutoff": 0.01, "xtc_probability": 1.0,
    },
}  # fmt: skip
EACH_RULE = pytest.mark.parametrize("rule", RULES)
POISON = {"NaN": np.nan, "+inf": np.inf, "all NaN": np.nan, "all +inf": np.inf, "all -inf": -np.inf}
EVERYTHING = {
    "repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": -0.5, "no_repeat_ngram_size": 3,
    "dry_multiplier": 0.5, "bad_words": ((0,), (1, 2)), "logit_bias": {3: 1.0}, **RULES["all"],
}  # fmt: skip


def all_orders(**params):
    return [SamplingParams(order=order, seed=seed, **params) for order in ORDERS for seed in range(8)]


def drawn(xp, logits, asked, **text):
    rows = np.tile(np.array(logits, np.float32), (len(asked), 1))
    return xp.sample(rows, rows_of(asked, len(logits), prompt=(0,), **text))


@EACH_RULE
@pytest.mark.parametrize("temperature", [0.0, 1e-8, 1e8, 1e308])
def test_every_rule_at_every_temperature_draws_what_it_keeps(xp, rule, temperature):
    logits = random_logits(1, 40)
    asked = all_orders(temperature=temperature, **RULES[rule])
    state, rows = rows_of(asked, 40), np.repeat(logits, len(asked), axis=0)
    kept, sampled = xp.kept(rows, state), xp.sample(rows, state)
    assert sampled.finite.all()
    assert kept[np.arange(len(asked)), sampled.token_ids].all()
    if temperature == 0.0:
        expected = [expect(logits[0], params, sample_index=row).token for row, params in enumerate(asked)]
        assert sampled.token_ids.tolist() == expected


@EACH_RULE
def test_every_rule_on_a_vocabulary_of_one_token(xp, rule):
    for temperature in (0.0, 1e-45, 1.0, 1e308):
        sampled = drawn(xp, [-7.0], all_orders(temperature=temperature, **RULES[rule]))
        assert sampled.finite.all()
        assert not sampled.token_ids.any()


@EACH_RULE
def test_every_rule_where_all_tokens_but_one_are_banned(xp, rule):
    sampled = drawn(xp, [3.0, 2.0, -50.0, 9.0], all_orders(allowed_token_ids=(2,), **RULES[rule]))
    assert sampled.finite.all()
    assert set(sampled.token_ids.tolist()) == {2}


@EACH_RULE
def test_every_rule_keeps_or_removes_tokens_that_tie_together(xp, rule):
    """Six logits, each of them four times; the kept sets are those of the oracle too."""
    logits = np.repeat(np.float32([2.0, 1.5, 1.0, 0.0, -1.0, -4.0]), 4)
    asked = [SamplingParams(order=order, **RULES[rule]) for order in ORDERS]
    kept = xp.kept(np.tile(logits, (3, 1)), rows_of(asked, 24))
    assert (kept.reshape(3, 6, 4).all(axis=2) == kept.reshape(3, 6, 4).any(axis=2)).all()
    for row, params in enumerate(asked):
        assert set(np.flatnonzero(kept[row])) == expect(logits, params, sample_index=row).among.kept


@EACH_RULE
def test_every_rule_keeps_all_tokens_where_all_tie(xp, rule):
    asked = [SamplingParams(order=order, temperature=t, **RULES[rule]) for order in ORDERS for t in (1e-45, 1.0, 1e308)]
    assert xp.kept(np.full((len(asked), 33), -2.5, np.float32), rows_of(asked, 33)).all()


@pytest.mark.parametrize("ban", ["allowed_token_ids", "bad_words", "no_repeat_ngram_size", "min_tokens"])
def test_a_row_of_which_every_token_is_banned_fails_alone(xp, ban):
    history = (0, 1, 2, 3)
    bans = {
        "allowed_token_ids": {"allowed_token_ids": (1,), "bad_words": ((1,),)},
        "bad_words": {"bad_words": ((0,), (1,), (2,), (3, 3), (3,))},
        "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
        "min_tokens": {"min_tokens": 9, "stop_token_ids": (0, 1, 2, 3)},
    }
    asked = [
        SamplingParams(),
        SamplingParams(**bans[ban]),
        SamplingParams(**bans[ban], **RULES["all"]),
        SamplingParams(),
    ]
    logits = random_logits(4, 4)
    sampled = xp.sample(logits, rows_of(asked, 4, prompt=history))
    assert sampled.finite.tolist() == [True, False, False, True]
    assert sampled.token_ids[1:3].tolist() == [0, 0]
    alone = xp.sample(logits, rows_of([SamplingParams()] * 4, 4, prompt=history))
    assert sampled.token_ids[[0, 3]].tolist() == alone.token_ids[[0, 3]].tolist()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", POISON)
def test_a_row_that_is_not_finite_harms_no_other_whatever_it_asks(xp, name, order):
    """The other rows keep every bit."""
    params = SamplingParams(order=order, **EVERYTHING)
    good = random_logits(5, 50)
    bad = good.copy()
    bad[2, slice(None) if name.startswith("all") else 7] = POISON[name]
    state, others = rows_of([params] * 5, 50), [0, 1, 3, 4]
    assert xp.sample(bad, state).finite.tolist() == [True, True, False, True, True]
    assert xp.sample(bad, state).token_ids[2] == 0
    assert xp.sample(bad, state).token_ids[others].tolist() == xp.sample(good, state).token_ids[others].tolist()
    assert np.array_equal(xp.distance(bad, state)[others], xp.distance(good, state)[others])


def test_minus_infinity_is_a_ban_that_the_model_has_spoken(xp):
    logits = np.float32([[1.0, -np.inf, 0.5, -np.inf, 0.0]])
    for order in ORDERS:
        params = SamplingParams(order=order, **EVERYTHING | {"bad_words": ()})
        expected = expect(logits[0], params)
        assert set(np.flatnonzero(xp.kept(logits, rows_of([params], 5))[0])) == expected.among.kept


@pytest.mark.parametrize("vocab_size", [1, 2, 1000])
@pytest.mark.parametrize("top_k", [1000, 1001, 2**24 + 1, 2**31 - 1])
def test_a_top_k_of_the_vocabulary_and_above_keeps_all(xp, top_k, vocab_size):
    state = rows_of([SamplingParams(top_k=top_k, order=order) for order in ORDERS], vocab_size, prompt=(0,))
    assert xp.kept(random_logits(3, vocab_size), state).all()


@pytest.mark.parametrize("least", [0.0, 5e-324, 1e-30, 1.0])
@pytest.mark.parametrize("most", [1.0, 1e8, 1e308])
@pytest.mark.parametrize("exponent", [1e-300, 1.0, 1e30])
def test_a_dynamic_temperature_at_the_ends_draws_a_token(xp, least, most, exponent):
    dynamic = DynamicTemperature(least, most, exponent)
    asked = all_orders(dynamic_temperature=dynamic, top_p=0.99)
    for logits in ([1.0, 1.0, 1.0], [80.0, -80.0, 0.0], [2.0, 1.0, 0.5], [0.0, -np.inf, -np.inf]):
        sampled = drawn(xp, logits, asked)
        assert sampled.finite.all()
        assert np.isfinite(np.array(logits)[sampled.token_ids]).all()


@pytest.mark.parametrize("value", [1e-3, 1e3])
def test_a_strong_repetition_penalty_stays_finite(xp, value):
    sampled = drawn(xp, [40.0, -40.0, 0.0, 1e-3], all_orders(repetition_penalty=value), generated=(0, 1, 2, 3))
    assert sampled.finite.all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@EACH_RULE
def test_logits_of_all_magnitudes(xp, rule, scale):
    """At 1e-30 the tokens are all but alike, at 1e30 one is sure; their distances differ all the same."""
    logits = (np.float32([3.0, 1.0, 2.0, 0.0]) * np.float32(scale)).astype(np.float32)
    sampled = drawn(xp, logits, [SamplingParams(seed=seed, **RULES[rule]) for seed in range(20)])
    assert sampled.finite.all()
    if rule == "top_k":
        assert set(sampled.token_ids.tolist()) == {0}
