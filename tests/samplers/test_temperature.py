"""Temperature: published probabilities, every T there is, and zero."""

import numpy as np
import pytest

from samplers.params import SamplingParams
from samplers.temperature import tempered_distance
from tests.samplers.conftest import random_logits, rows_of


def softmax(distance):
    weights = np.exp(-distance.astype(np.float64))
    return weights / weights.sum(axis=-1, keepdims=True)


def tempered(xp, logits, temperatures):
    """Temper one row by several temperatures, as requests would have it."""
    state = rows_of([SamplingParams(temperature=t) for t in temperatures], len(logits))
    rows = np.tile(np.array(logits, np.float32), (len(temperatures), 1))
    return xp(tempered_distance, rows, state.temperature)


def test_the_softmax_of_three_logits_at_half_one_and_two(xp):
    expected = [[0.8638, 0.1169, 0.0193], [0.6590, 0.2424, 0.0986], [0.5017, 0.3043, 0.1940]]
    drawn = softmax(tempered(xp, [2.0, 1.0, 0.1], [0.5, 1.0, 2.0]))
    np.testing.assert_allclose(drawn, expected, atol=5e-5)


def test_distances_of_four_tokens_by_hand(xp):
    distance = tempered(xp, [3.0, 1.0, 2.0, -np.inf], [0.5, 1.0, 2.0])
    assert distance.tolist() == [[0.0, 4.0, 2.0, np.inf], [0.0, 2.0, 1.0, np.inf], [0.0, 1.0, 0.5, np.inf]]
    assert distance.dtype == np.float32


def test_zero_counts_as_one(xp):
    zero, minus_zero, one = tempered(xp, [3.0, 1.0, 2.0, -np.inf], [0.0, -0.0, 1.0])
    assert zero.tolist() == minus_zero.tolist() == one.tolist()


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


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf]])
def test_a_row_without_a_finite_best_is_nan_and_alone_in_it(xp, bad):
    logits = np.array([[2.0, 1.0], bad, [2.0, 1.0]], np.float32)
    distance = xp(tempered_distance, logits, np.ones(3, np.float32))
    assert np.isnan(distance[1]).any()
    assert distance[[0, 2]].tolist() == [[0.0, 1.0], [0.0, 1.0]]
