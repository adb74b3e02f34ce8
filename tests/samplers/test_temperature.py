"""Temperature: published probabilities, every T there is, zero; and T led by the entropy."""

import math

import numpy as np
import pytest

from samplers.params import DynamicTemperature, SamplingParams
from tests.samplers.conftest import random_logits, rows_of

HALVES = np.log([1 / 2, 1 / 4, 1 / 8, 1 / 8])


def softmax(distance):
    weights = np.exp(-distance.astype(np.float64))
    return weights / weights.sum(axis=-1, keepdims=True)


def tempered(xp, logits, temperatures):
    """Temper one row by several temperatures, as requests would have it."""
    return distances(xp, logits, [SamplingParams(temperature=t) for t in temperatures])


def distances(xp, logits, asked):
    rows = np.tile(np.array(logits, np.float32), (len(asked), 1))
    return xp.distance(rows, rows_of(asked, len(logits), prompt=(0,)))


def test_the_softmax_of_three_logits_at_half_one_and_two(xp):
    expected = [[0.8638, 0.1169, 0.0193], [0.6590, 0.2424, 0.0986], [0.5017, 0.3043, 0.1940]]
    drawn = softmax(tempered(xp, [2.0, 1.0, 0.1], [0.5, 1.0, 2.0]))
    np.testing.assert_allclose(drawn, expected, atol=5e-5)


def test_distances_of_four_tokens_by_hand(xp):
    distance = tempered(xp, [3.0, 1.0, 2.0, -np.inf], [0.5, 1.0, 2.0])
    assert distance.tolist() == [[0.0, 4.0, 2.0, np.inf], [0.0, 2.0, 1.0, np.inf], [0.0, 1.0, 0.5, np.inf]]
    assert distance.dtype == np.float32


@pytest.mark.parametrize("temperature", [1e-45, 5e-324, 1e-300])
def test_below_float32_only_the_best_stay_near(xp, temperature):
    [distance] = tempered(xp, [3.0, 3.0, 2.0, -1.0], [temperature])
    assert distance[:2].tolist() == [0.0, 0.0]
    assert (distance[2:] > 1e37).all()


@pytest.mark.parametrize("temperature", [2e-38, 1e-30, 1e-8, 1e8, 1e30, 1e37])
def test_every_temperature_of_float32_acts_as_itself(xp, temperature):
    [distance] = tempered(xp, [2.0, 1.0, 0.0], [temperature])
    expected = np.array([0.0, 1.0 / temperature, 2.0 / temperature])
    np.testing.assert_allclose(distance, expected, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1e39, 1e308])
def test_beyond_float32_all_tokens_are_equally_probable(xp, temperature):
    [distance] = tempered(xp, [100.0, 1.0, -100.0, -np.inf], [temperature])
    np.testing.assert_allclose(softmax(distance), [1 / 3, 1 / 3, 1 / 3, 0.0], rtol=1e-7)


def test_large_logits_do_not_overflow(xp):
    [distance] = tempered(xp, [3e38, 3e38, -3e38], [1.0])
    assert distance.tolist() == [0.0, 0.0, np.inf]


def test_adding_a_number_to_all_logits_changes_nothing(xp):
    logits = random_logits(1, 100)[0]
    assert np.array_equal(tempered(xp, logits, [0.3, 1.7]), tempered(xp, logits + np.float32(512.0), [0.3, 1.7]))


@pytest.mark.parametrize(
    ("dynamic", "temperature"),
    [
        ((0.5, 1.5), 1.375),
        ((0.5, 1.5, 2.0), 1.265625),
        ((0.0, 2.0), 1.75),
        ((0.7, 0.7, 9.0), 0.7),
        ((0.0, 1e6), 8.75e5),
    ],
)
def test_a_dynamic_temperature_by_hand(xp, dynamic, temperature):
    """The entropy is 7/8 of the greatest there is: of 1.75 ln 2, for 4 tokens at most 2 ln 2."""
    [found] = distances(xp, HALVES, [SamplingParams(dynamic_temperature=DynamicTemperature(*dynamic))])
    np.testing.assert_allclose(found, np.log([1, 2, 4, 4]) / temperature, rtol=1e-5)


def test_a_dynamic_temperature_counts_no_banned_tokens(xp):
    """Of 1/2 and 1/4 alone the entropy is 0.6365 of at most ln 2."""
    params = SamplingParams(dynamic_temperature=DynamicTemperature(0.5, 1.5), allowed_token_ids=(0, 1))
    [found] = distances(xp, HALVES, [params])
    np.testing.assert_allclose(found[:2], [0.0, math.log(2) / (0.5 + 0.6365142 / math.log(2))], rtol=1e-5)
    assert np.isinf(found[2:]).all()


def test_a_dynamic_temperature_is_the_greatest_where_all_tokens_are_alike_and_the_least_where_one_is_sure(xp):
    hot, cold = [0.0, 0.0, 0.0, 2.0**-10], [0.0, -30.0, -30.0, -30.0]
    asked = [SamplingParams(dynamic_temperature=DynamicTemperature(0.5, 4.0))]
    np.testing.assert_allclose(distances(xp, hot, asked)[0], np.float64([1, 1, 1, 0]) / 2**10 / 4, rtol=1e-4)
    np.testing.assert_allclose(distances(xp, cold, asked)[0], [0.0, 60.0, 60.0, 60.0], rtol=1e-4)


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_a_dynamic_temperature_of_one_token(xp, least):
    params = SamplingParams(dynamic_temperature=DynamicTemperature(least, 2.0))
    state = rows_of([params], 1, prompt=(0,))
    sampled = xp.sample(np.float32([[-3.0]]), state)
    assert (sampled.token_ids.tolist(), sampled.finite.tolist()) == ([0], [True])


def test_a_dynamic_temperature_from_zero_is_greedy_where_one_token_is_sure(xp):
    """By exp(-200) the entropy is nothing in float32; the noise, of at most 25, lifts nothing over 1e30."""
    asked = [SamplingParams(dynamic_temperature=DynamicTemperature(0.0, 2.0), seed=seed) for seed in range(50)]
    logits = np.tile(np.float32([0.0, 200.0, 0.0, -1.0]), (50, 1))
    assert set(xp.sample(logits, rows_of(asked, 4)).token_ids.tolist()) == {1}
