"""The three orders of the steps, by hand: where they part, and what each of them draws from."""

import math

import numpy as np
import pytest

from samplers.params import DynamicTemperature, SamplingParams
from tests.samplers.conftest import rows_of
from tests.samplers.oracle import kept_patterns

ORDERS = ("hf", "vllm", "llamacpp")
FALLING = np.log([0.4, 0.3, 0.2, 0.1])
HALVES = np.log([1 / 2, 1 / 4, 1 / 8, 1 / 8])
BEST_AND_SIX = np.log([0.4] + [0.1] * 6)


def by_order(xp, logits, **params):
    return kept_patterns(xp, logits, [SamplingParams(order=order, **params) for order in ORDERS])


def distances(xp, logits, asked):
    """Return how far tokens lie below the best one kept, as the draw sees them."""
    found = xp.distance(np.tile(np.float32(logits), (len(asked), 1)), rows_of(asked, len(logits)))
    return found - found.min(axis=1, keepdims=True)


def test_min_p_comes_before_top_p_in_vllm_alone(xp):
    """min_p 0.3 leaves three, 0.44 0.33 0.22 of themselves: two of them reach 0.75; of all tokens it takes three."""
    assert by_order(xp, FALLING, top_p=0.75, min_p=0.3) == ["YYYn", "YYnn", "YYYn"]


def test_temperature_comes_last_in_llamacpp(xp):
    """At temperature 2 the probabilities are 0.325 0.282 0.230 0.163: 0.65 takes three; of 0.4 0.3 it takes two."""
    assert by_order(xp, FALLING, temperature=2.0, top_p=0.65) == ["YYYn", "YYYn", "YYnn"]
    asked = [SamplingParams(order=order, temperature=2.0, top_p=0.65) for order in ORDERS]
    near, far = math.log(4 / 3) / 2, math.log(2) / 2
    expected = [[0.0, near, far, np.inf]] * 2 + [[0.0, near, np.inf, np.inf]]
    np.testing.assert_allclose(distances(xp, FALLING, asked), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "tempered", "untempered"),
    [
        ({"min_p": 0.6}, "YYYn", "YYnn"),  # ratios of 0.75 0.5 0.25 become 0.87 0.71 0.5
        ({"top_k": 2}, "YYnn", "YYnn"),
        ({"epsilon_cutoff": 0.15}, "YYYY", "YYYn"),
        ({"eta_cutoff": 0.6}, "YYYn", "YYnn"),  # limits 0.775 · exp(-1.353) = 0.200 and 0.775 · exp(-1.280) = 0.215
        ({"top_n_sigma": 1.9}, "YYYn", "YYYn"),
        ({"typical_p": 0.2}, "nYnn", "nYnn"),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.29}, "YYYY", "nYYY"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_truncations_see_the_temperature_but_in_llamacpp(xp, params, tempered, untempered):
    assert by_order(xp, FALLING, temperature=2.0, **params) == [tempered, tempered, untempered]


def test_typical_comes_before_top_p_and_min_p_in_llamacpp(xp):
    """0.4 is the least typical (see test_typical.py). Then min_p asks for half the best of those still kept, 0.1."""
    assert by_order(xp, BEST_AND_SIX, typical_p=0.5, min_p=0.5) == ["Ynnnnnn", "Ynnnnnn", "nYYYYYY"]
    assert by_order(xp, BEST_AND_SIX, typical_p=0.5, top_p=0.3) == ["Ynnnnnn", "Ynnnnnn", "nYYYYYY"]


def test_greedy_is_the_best_token_of_all_but_in_llamacpp_the_best_of_the_kept(xp):
    asked = [SamplingParams(order=order, temperature=0.0, typical_p=0.5, seed=7) for order in ORDERS]
    drawn = xp.sample(np.tile(np.float32(BEST_AND_SIX), (3, 1)), rows_of(asked, 7)).token_ids
    assert drawn.tolist() == [0, 0, 1]


def test_greedy_and_xtc_take_the_best_token_that_is_left(xp):
    """Choices of 0.15 and more are the first three; in llamacpp the third of them is left."""
    asked = [SamplingParams(order=order, temperature=0.0, xtc_probability=1.0, xtc_threshold=0.15) for order in ORDERS]
    assert xp.sample(np.tile(np.float32(FALLING), (3, 1)), rows_of(asked, 4)).token_ids.tolist() == [0, 0, 2]


def test_a_dynamic_temperature_asks_all_tokens_but_in_llamacpp_the_kept(xp):
    """Entropy 1.75 ln 2 of at most 2 ln 2; of 2/3 and 1/3 it is 0.6365 of at most ln 2."""
    params = {"dynamic_temperature": DynamicTemperature(0.5, 1.5), "top_k": 2}
    asked = [SamplingParams(order=order, **params) for order in ORDERS]
    found = distances(xp, HALVES, asked)[:, 1]
    np.testing.assert_allclose(
        found, [math.log(2) / t for t in (1.375, 1.375, 0.5 + 0.6365142 / math.log(2))], rtol=1e-5
    )


def test_a_dynamic_temperature_asks_in_llamacpp_what_xtc_has_left(xp):
    """0.3 0.2 0.1 are left, halves, thirds and sixths: entropy 1.0114 of at most ln 3."""
    dynamic = {"dynamic_temperature": DynamicTemperature(0.5, 1.5)}
    params = SamplingParams(order="llamacpp", xtc_probability=1.0, xtc_threshold=0.25, **dynamic)
    [found] = distances(xp, FALLING, [params])
    temperature = 0.5 + 1.0114043 / math.log(3)
    np.testing.assert_allclose(found, [np.inf, 0.0, math.log(1.5) / temperature, math.log(3) / temperature], rtol=1e-5)
