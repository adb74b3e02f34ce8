"""Permutation tests against every relabelling written out by hand, and against SciPy's."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from samplers.permutation import fewest_pairs, label_swap_p, sign_flip_p

KNOWN = [0.12, 0.05, -0.02, 0.08, 0.10, 0.03, 0.07, 0.01]


def every_sign(differences):
    """Add up every choice of signs exactly, in fractions."""
    observed = abs(sum(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(differences))]  # fmt: skip
    return sum(value >= observed for value in sums) / len(sums)


def difference_of_means(baseline, arm):
    return float(np.mean(arm) - np.mean(baseline))


def test_the_known_answer():
    assert sign_flip_p(KNOWN) == 0.0234375


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8), st.sampled_from([1.0, 0.1, 1e-9, 1e12]))
def test_every_sign_is_counted_once_and_ties_survive_rounding(differences, unit):
    assert sign_flip_p([unit * value for value in differences]) == every_sign(differences)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=9))
def test_scipys_permutation_test_agrees(differences):
    differences = np.round(differences, 3) + 0.0137 * np.arange(len(differences)) ** 2
    found = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=math.inf)
    assert sign_flip_p(differences) == pytest.approx(min(1.0, found.pvalue), abs=2.1 / 2 ** len(differences))


@pytest.mark.parametrize("prompts", [1, 2, 5, 6, 12])
def test_a_constant_difference_is_the_floor(prompts):
    assert sign_flip_p([0.1] * prompts) == 2 / 2**prompts
    assert sign_flip_p([-0.1] * prompts) == 2 / 2**prompts


@pytest.mark.parametrize("prompts", [1, 12, 13, 500])
def test_no_difference_is_certainly_chance(prompts):
    assert sign_flip_p([0.0] * prompts) == 1
    assert label_swap_p([3.0] * min(prompts, 20), [3.0] * min(prompts, 20), difference_of_means) == 1


def test_differences_that_cancel_are_certainly_chance():
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1


def test_draws_come_near_the_exact_answer():
    """Of 9,999 draws around p = 0.28 the standard deviation is 0.0045; 5 of them have odds of 1 in 2 million."""
    differences = [0.3, -0.1, 0.25, 0.4, -0.35, 0.2, 0.15, -0.05, 0.1, -0.2, 0.3, 0.05, -0.1]
    exact = every_sign([round(100 * value) for value in differences])
    found = sign_flip_p(differences)
    assert exact == pytest.approx(0.2803, abs=1e-4)
    assert found == pytest.approx(exact, abs=5 * 0.0045)
    assert (found * 10_000) == pytest.approx(round(found * 10_000))
    assert sign_flip_p(differences) == found != sign_flip_p(differences, seed=1)


def test_draws_never_give_0():
    assert sign_flip_p([1.0] * 300) == 1 / 10_000


def test_swapping_labels_of_a_mean_is_flipping_signs():
    baseline, arm = [0.0] * 8, KNOWN
    assert label_swap_p(baseline, arm, difference_of_means) == 0.0234375
    assert label_swap_p(arm, baseline, difference_of_means) == 0.0234375


def test_swapping_labels_by_hand():
    """Of 0 0 0 against 0 1 2, in distinct values: 1 against 3 and, one pair swapped, 1:3 2:2 2:2 and their mirrors."""
    found = label_swap_p([0, 0, 0], [0, 1, 2], lambda first, second: len(set(second)) - len(set(first)))
    assert found == 4 / 8


def test_swapping_labels_of_many_samples_draws():
    """No relabelling of 40 clear pairs is as great again but for odds of 9,999 / 2^39."""
    assert label_swap_p([0.0] * 40, [1.0] * 40, difference_of_means) == 1 / 10_000


@pytest.mark.parametrize(("alpha", "pairs"), [(1.0, 1), (0.5, 2), (0.0625, 5), (0.05, 6), (0.025, 7), (0.0125, 8)])
def test_the_fewest_pairs_that_can_reach_a_level(alpha, pairs):
    assert fewest_pairs(alpha) == pairs
    assert sign_flip_p([1.0] * pairs) <= alpha
    assert pairs == 1 or sign_flip_p([1.0] * (pairs - 1)) > alpha


@pytest.mark.parametrize(
    "call",
    [
        lambda: sign_flip_p([]),
        lambda: sign_flip_p([math.inf]),
        lambda: label_swap_p([], [], difference_of_means),
        lambda: label_swap_p([1.0], [1.0, 2.0], difference_of_means),
        lambda: label_swap_p([1.0], [2.0], lambda first, second: math.nan),
    ],
)
def test_what_cannot_be_answered_is_refused(call):
    with pytest.raises(ValueError, match="at least 1"):
        call()
