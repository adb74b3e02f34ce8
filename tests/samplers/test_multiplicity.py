"""Corrections for several tests: known answers, SciPy as the oracle, and what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from samplers.multiplicity import benjamini_hochberg, holm

P_VALUES = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216]
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_known_answers():
    assert holm(P_VALUES) == pytest.approx([0.01, 0.072] + [0.312] * 5 + [0.615] * 3, abs=1e-12)
    assert benjamini_hochberg(P_VALUES) == pytest.approx(
        [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.105714, 0.216, 0.216, 0.216], abs=1e-6
    )


@given(p_values)
def test_scipy_agrees_on_the_false_discovery_rate(values):
    assert benjamini_hochberg(values) == pytest.approx(stats.false_discovery_control(values), rel=1e-12)


@given(p_values, st.floats(0.001, 0.5))
def test_holm_rejects_step_by_step_from_the_least(values, alpha):
    rejected = 0
    for steps_left, value in zip(range(len(values), 0, -1), sorted(values), strict=True):
        if value * steps_left > alpha:
            break
        rejected += 1
    assert np.sum(holm(values) <= alpha) == rejected


@given(p_values)
def test_order_does_not_matter_and_holm_is_the_stricter(values):
    for correct in (holm, benjamini_hochberg):
        assert correct(values[::-1]).tolist() == correct(values)[::-1].tolist()
    assert np.all(holm(values) >= benjamini_hochberg(values) - 1e-15)
    assert np.all(benjamini_hochberg(values) >= np.asarray(values) - 1e-15)


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
def test_edges(correct):
    assert correct([]).tolist() == []
    assert correct([0.03]).tolist() == [0.03]
    assert correct([1.0, 0.0]).tolist() == [1.0, 0.0]
    for wrong in ([1.1], [-0.1], [float("nan")], [[0.5]]):
        with pytest.raises(ValueError, match="from 0 to 1"):
            correct(wrong)
