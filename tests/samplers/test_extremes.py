"""Where float32 ends: the coldest temperatures, and limits beyond what it can hold."""

import numpy as np
import pytest

from samplers.params import DynamicTemperature, SamplingParams
from tests.samplers.conftest import random_logits, rows_of

ORDERS = ("hf", "vllm", "llamacpp")
BEST_AND_SIX = np.log([0.4] + [0.1] * 6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rule", [{}, {"top_n_sigma": 0.5}, {"top_n_sigma": 2.0, "top_p": 0.9}], ids=str)
def test_the_coldest_temperature_takes_the_best_token_whatever_the_truncation(xp, rule, order):
    logits = random_logits(8, 40)
    params = SamplingParams(order=order, temperature=1e-45, allowed_token_ids=tuple(range(30)), **rule)
    state = rows_of([params] * 8, 40)
    kept, sampled = xp.kept(logits, state), xp.sample(logits, state)
    assert sampled.finite.all()
    assert sampled.token_ids.tolist() == logits[:, :30].argmax(axis=1).tolist()
    assert kept[np.arange(8), sampled.token_ids].all()


@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e-8, 1e-5])
def test_the_coldest_draw_of_llamacpp_is_among_the_best_of_the_kept(xp, temperature):
    """Six of 0.1 tie; each of 300 samples draws one of them, all six at least once but with odds of 10^-23."""
    asked = [SamplingParams(order="llamacpp", typical_p=0.5, temperature=temperature)] * 300
    drawn = xp.sample(np.tile(np.float32(BEST_AND_SIX), (300, 1)), rows_of(asked, 7)).token_ids
    assert set(drawn.tolist()) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("sigma", [1e-300, 1e39, 1e300])
@pytest.mark.parametrize("logits", [[0.0], [1.0, 1.0, 1.0], [2.0, 1.0, 0.0]], ids=len)
def test_a_top_n_sigma_beyond_float32_keeps_the_best_or_all(xp, logits, sigma):
    kept = xp.kept(np.float32([logits]), rows_of([SamplingParams(top_n_sigma=sigma)], len(logits), prompt=(0,)))[0]
    every = sigma > 1.0 or len(set(logits)) == 1
    assert kept.tolist() == [every or logit == max(logits) for logit in logits]


@pytest.mark.parametrize("exponent", [1e39, 1e300])
def test_a_dynamic_temperature_of_an_exponent_beyond_float32_is_its_least(xp, exponent):
    """Any entropy below its greatest is nothing to such a power."""
    params = SamplingParams(dynamic_temperature=DynamicTemperature(0.5, 2.0, exponent))
    distance = xp.distance(np.float32([[2.0, 1.0, 0.0, -1.0]]), rows_of([params], 4))
    assert distance.tolist() == [[0.0, 2.0, 4.0, 6.0]]


@pytest.mark.parametrize("penalty", [1e39, 1e300])
def test_a_dry_penalty_beyond_float32_is_its_greatest(xp, penalty):
    params = SamplingParams(dry_multiplier=penalty, dry_base=penalty, allowed_token_ids=(2,))
    sampled = xp.sample(np.zeros((1, 4), np.float32), rows_of([params], 4, prompt=(2,) * 9))
    assert (sampled.token_ids.tolist(), sampled.finite.tolist()) == ([2], [True])
