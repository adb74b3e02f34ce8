"""Paired statistics: known answers, SciPy as the oracle, and the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from samplers.statistics import (
    bca_interval,
    effect_size,
    equivalence_p,
    jackknife_interval,
    spread,
    subtract,
    t_interval,
    tally,
)

KNOWN = [0.12, 0.05, -0.02, 0.08, 0.10, 0.03, 0.07, 0.01]
rows = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


def test_known_answers():
    assert np.mean(KNOWN) == pytest.approx(0.055)
    assert spread(KNOWN) == pytest.approx(0.0469042, abs=1e-7)
    assert effect_size(KNOWN) == pytest.approx(1.1726039, abs=1e-7)
    assert t_interval(KNOWN) == pytest.approx((0.0157871, 0.0942129), abs=1e-7)
    assert tally(KNOWN) == (7, 0, 1)


@given(rows, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_that_of_the_paired_t_test(differences, confidence):
    if spread(differences) > 0:
        found = stats.ttest_1samp(differences, 0).confidence_interval(confidence)
        assert t_interval(differences, confidence) == pytest.approx((found.low, found.high), rel=1e-9, abs=1e-9)


@given(rows, st.floats(1e-3, 1e3))
def test_equivalence_is_the_greater_of_two_one_sided_t_tests(differences, margin):
    if spread(differences) > 0:
        above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
        assert equivalence_p(differences, margin) == pytest.approx(max(above, below), rel=1e-9, abs=1e-12)


@given(rows, st.floats(1e-3, 1e3))
def test_equivalence_at_5_percent_is_the_90_percent_interval_within_the_margin(differences, margin):
    low, high = t_interval(differences, 0.9)
    if min(abs(low + margin), abs(high - margin)) > 1e-9:
        assert (equivalence_p(differences, margin) < 0.05) == (-margin < low and high < margin)


@given(rows)
def test_exchanging_the_arms_turns_the_sign_and_nothing_else(differences):
    turned = [-value for value in differences]
    low, high = t_interval(differences)
    assert t_interval(turned) == pytest.approx((-high, -low))
    assert effect_size(turned) == -effect_size(differences)
    assert equivalence_p(turned, 1.0) == equivalence_p(differences, 1.0)
    assert tally(turned) == tally(differences)[::-1]


def test_no_difference_at_all():
    assert t_interval([0.0] * 9) == (0, 0)
    assert bca_interval([0.0] * 20) == (0, 0)
    assert effect_size([0.0] * 9) == 0
    assert equivalence_p([0.0] * 9, 1e-9) == 0
    assert tally([0.0] * 9) == (0, 9, 0)


def test_a_constant_difference_is_a_point_however_it_was_rounded():
    differences = subtract([0.1 * place + 0.3 for place in range(25)], [0.1 * place for place in range(25)])
    assert len(set(differences.tolist())) > 1
    assert t_interval(differences) == pytest.approx((0.3, 0.3))
    assert bca_interval(differences) == pytest.approx((0.3, 0.3))
    assert effect_size(differences) == math.inf
    assert effect_size(-differences) == -math.inf
    assert equivalence_p(differences, 0.31) == 0
    assert equivalence_p(differences, 0.29) == 1


def test_values_that_differ_by_rounding_are_tied():
    assert subtract([0.1 + 0.2, 1.0, 2.0], [0.3, 1.0 + 1e-11, 1.0]).tolist() == [0, pytest.approx(-1e-11), 1]
    assert tally(subtract([0.1 + 0.2], [0.3])) == (0, 1, 0)


def test_bca_is_near_students_interval_for_normal_differences():
    """Both err by the same standard error, up to 2 % of resampling noise and 2 % of shape at 400 prompts."""
    differences = np.random.default_rng(1).normal(0.3, 1.0, 400)
    student, bootstrap = t_interval(differences), bca_interval(differences)
    assert bootstrap == pytest.approx(student, abs=0.05 * (student.high - student.low))
    assert bca_interval(differences) == bootstrap


@given(st.lists(st.integers(-1, 1), min_size=20, max_size=24), st.sampled_from([1.0, 1e-9, 1e9]), st.integers(0, 1))
def test_bca_is_finite_however_many_ties_there_are(differences, unit, far):
    low, high = bca_interval([unit * (far + 1e-9 * value) for value in differences])
    assert math.isfinite(low)
    assert low <= high


def test_bca_leans_to_the_long_tail():
    differences = np.random.default_rng(2).exponential(1.0, 30)
    low, high = bca_interval(differences)
    assert high - differences.mean() > 1.1 * (differences.mean() - low)


def test_the_jackknife_of_a_mean_is_students_interval():
    baseline, arm = [1.0, 4.0, 2.0, 8.0], [2.0, 7.0, 1.0, 9.0]
    found = jackknife_interval(baseline, arm, lambda first, second: float(np.mean(second) - np.mean(first)))
    assert found == pytest.approx(t_interval(subtract(arm, baseline)))


def test_the_jackknife_of_pairwise_distance():
    """The distances of the known set without each of its texts, and their standard error (0.2503)."""
    left_out = {(1, 2, 3): 0.509437, (0, 2, 3): 0.467771, (0, 1, 3): 0.166667, (0, 1, 2): 0.515883}

    def statistic(_, second):
        return left_out.get(tuple(second), 0.4149395)

    low, high = jackknife_interval(range(4), range(4), statistic)
    assert (high - low) / 2 / stats.t.ppf(0.975, 3) == pytest.approx(0.2503248, abs=1e-6)
    assert (high + low) / 2 == pytest.approx(0.4149395)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: t_interval([1.0]), "at least 2"),
        (lambda: effect_size([1.0]), "at least 2"),
        (lambda: t_interval([1.0, math.nan]), "finite"),
        (lambda: tally([]), "at least 1"),
        (lambda: tally([[1.0]]), "one row"),
        (lambda: bca_interval([1.0] * 19), "at least 20"),
        (lambda: subtract([1.0], [1.0, 2.0]), "one of each per prompt"),
        (lambda: equivalence_p(KNOWN, 0.0), "margin"),
        (lambda: equivalence_p(KNOWN, math.nan), "margin"),
        (lambda: jackknife_interval([1, 2], [1, 2], lambda first, second: 0.0), "at least 3"),
        (lambda: jackknife_interval([1, 2, 3], [1, 2], lambda first, second: 0.0), "as many"),
    ],
)
def test_what_cannot_be_answered_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
