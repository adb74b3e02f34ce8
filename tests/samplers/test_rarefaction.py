"""Rarefaction: known answers, every subset counted by hand, and laws."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplers.rarefaction import rarefied, simpson
from tests.samplers.conftest import LAWS

cluster_sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def by_formula(sizes, k):
    total = sum(sizes)
    return math.fsum(1 - math.comb(total - size, k) / math.comb(total, k) for size in sizes)


def test_known_answers():
    curve = rarefied([5, 3, 2])
    assert [curve[k - 1] for k in (1, 2, 4, 10)] == pytest.approx([1.0, 1.688889, 2.47619, 3.0], abs=1e-6)
    assert simpson([5, 3, 2]) == pytest.approx(0.688889, abs=1e-6)


def test_it_is_the_unbiased_pass_at_k():
    """Of 10 samples 3 pass: among 5, at least one does at odds of 0.9166667; the others surely have one that fails."""
    assert rarefied([3, 7])[5 - 1] == pytest.approx(0.9166667 + 1, abs=1e-7)


@pytest.mark.parametrize("sizes", [[1], [4], [1, 1, 1], [3, 2], [4, 2, 1]])
def test_every_subset_by_hand(sizes):
    labels = [cluster for cluster, size in enumerate(sizes) for _ in range(size)]
    for k, expected in enumerate(rarefied(sizes), start=1):
        found = [len(set(subset)) for subset in itertools.combinations(labels, k)]
        assert expected == pytest.approx(sum(found) / len(found), rel=1e-12)
    pairs = [first != second for first, second in itertools.combinations(labels, 2)]
    assert simpson(sizes) == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


@LAWS
@given(cluster_sizes)
def test_it_is_hurlberts_formula_and_rises_ever_more_slowly(sizes):
    curve = rarefied(sizes)
    assert curve == pytest.approx([by_formula(sizes, k) for k in range(1, sum(sizes) + 1)], rel=1e-9)
    assert curve[0] == pytest.approx(1)
    assert curve[-1] == pytest.approx(len(sizes))
    steps = [after - before for before, after in itertools.pairwise(curve)]
    assert all(step >= -1e-9 for step in steps)
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(steps))


@LAWS
@given(cluster_sizes, st.randoms(use_true_random=False))
def test_the_order_of_clusters_does_not_matter_and_two_draws_are_simpsons(sizes, random):
    shuffled = random.sample(sizes, len(sizes))
    assert rarefied(shuffled) == pytest.approx(rarefied(sizes))
    assert simpson(shuffled) == simpson(sizes)
    if sum(sizes) > 1:
        assert rarefied(sizes)[1] == pytest.approx(1 + simpson(sizes))


def test_equal_texts_are_one_and_different_ones_as_many_as_are_drawn():
    assert rarefied([16]) == [1] * 16
    assert rarefied([1] * 16) == pytest.approx(list(range(1, 17)))
    assert (simpson([16]), simpson([1] * 16)) == (0, 1)


def test_a_great_many_samples_do_not_overflow():
    assert rarefied([5000, 5000])[99] == pytest.approx(2)


def test_without_texts_there_is_nothing_to_expect():
    assert rarefied([]) == []
    assert simpson([]) is None
    assert simpson([1]) is None
