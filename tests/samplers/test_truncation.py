"""Truncation: four tokens by hand, every boundary and its ties, and the weighted quantile against a sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplers.params import SamplingParams
from samplers.truncation import bound_top_k, bound_top_p, keep_min_p
from samplers.xp import namespace
from tests.samplers.conftest import LAWS, rows_of

DISTANCE = np.array([2.0, 0.0, 3.0, 1.0], np.float32)
WEIGHTS = np.array([0.25, 1.0, 0.25, 0.5], np.float32)  # probabilities 1/8 1/2 1/8 1/4
INF = np.inf


def rows(row, count):
    return np.tile(np.array(row, np.float32), (count, 1))


@pytest.mark.parametrize(
    ("distance", "bounds"),
    [
        (DISTANCE, {1: 0.0, 2: 1.0, 3: 2.0, 4: 3.0, 5: INF, 2**31 - 1: INF, 0: INF}),
        ([0.0, 1.0, 1.0, 1.0], {1: 0.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: INF, 0: INF}),
        ([0.0, 0.0, 0.0, 5.0], {1: 0.0, 2: 0.0, 3: 0.0, 4: 5.0}),
        ([0.0, 1.0, INF, INF], {1: 0.0, 2: 1.0, 3: INF, 4: INF}),
        ([0.0], {1: 0.0, 2: INF, 0: INF}),
    ],
    ids=["apart", "three tie", "the best tie", "two banned", "one token"],
)
def test_top_k_by_hand(xp, distance, bounds):
    top_k = np.array(list(bounds), np.int32)
    assert xp(bound_top_k, rows(distance, len(bounds)), top_k)[:, 0].tolist() == list(bounds.values())


def test_top_p_by_hand(xp):
    bounds = {1e-30: 0.0, 0.4: 0.0, 0.5: 0.0, 0.50001: 1.0, 0.75: 1.0, 0.76: 2.0, 0.875: 2.0, 0.99: 3.0, 1.0: INF}
    top_p = np.array(list(bounds), np.float32)
    found = xp(bound_top_p, rows(DISTANCE, len(bounds)), rows(WEIGHTS, len(bounds)), top_p)
    assert found[:, 0].tolist() == list(bounds.values())


def test_top_p_keeps_all_that_tie_at_its_boundary(xp):
    distance, weights = [0.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0]
    bounds = {0.4: 0.0, 0.41: 1.0, 0.6: 1.0, 0.99: 1.0}
    found = xp(bound_top_p, rows(distance, 4), rows(weights, 4), np.array(list(bounds), np.float32))
    assert found[:, 0].tolist() == list(bounds.values())


def test_top_p_shares_what_is_still_kept(xp):
    """Of weights 4 3 2 1 the first is 0.4 of all, and 4/7 of the two that top-k leaves."""
    distance, weights = rows([0.0, 1.0, 2.0, 3.0], 2), np.array([[4, 3, 2, 1], [4, 3, 0, 0]], np.float32)
    assert xp(bound_top_p, distance, weights, np.float32([0.5, 0.5]))[:, 0].tolist() == [1.0, 0.0]


def test_min_p_by_hand(xp):
    kept = {0.0: "YYYY", 0.2: "YYYY", 0.25: "YYYY", 0.26: "nYnY", 0.5: "nYnY", 0.51: "nYnn", 1.0: "nYnn"}
    found = xp(keep_min_p, rows(WEIGHTS, len(kept)), np.array(list(kept), np.float32))
    assert ["".join("nY"[int(kept)] for kept in row) for row in found] == list(kept.values())


def test_min_p_of_one_keeps_all_that_tie_with_the_best(xp):
    assert xp(keep_min_p, rows([1.0, 0.5, 1.0], 1), np.float32([1.0])).tolist() == [[True, False, True]]


def test_each_truncation_sees_what_the_one_before_it_left(xp):
    """Probabilities 0.4 0.3 0.2 0.1: alone, top_p 0.5 keeps two tokens; after top_k 2 the first is 0.57 of the rest."""
    logits = np.log(np.float32([[0.4, 0.3, 0.2, 0.1]]))
    kept = [
        ({}, "YYYY"),
        ({"top_k": 3}, "YYYn"),
        ({"top_p": 0.5}, "YYnn"),
        ({"top_k": 2, "top_p": 0.5}, "Ynnn"),
        ({"min_p": 0.3}, "YYYn"),
        ({"top_p": 0.85, "min_p": 0.3}, "YYYn"),
        ({"top_p": 0.65, "min_p": 0.3}, "YYnn"),
        ({"top_k": 3, "top_p": 0.95, "min_p": 0.6}, "YYnn"),
    ]
    state = rows_of([SamplingParams(**given) for given, _ in kept], 4)
    found = xp.kept(np.repeat(logits, len(kept), axis=0), state)
    assert ["".join("nY"[int(kept)] for kept in row) for row in found] == [pattern for _, pattern in kept]


def quantile(x, weights, target):
    return namespace(x).weighted_quantile(x, weights, target)


def sorted_quantile(x, weights, target):
    """Return the least element, in sorted order, at which the summed weights reach the target; 0 for no target."""
    if target <= 0:
        return 0.0
    mass = 0.0
    for value, weight in sorted(zip(x, weights, strict=True)):
        mass += weight
        if mass >= target:
            return value
    return INF


DISTANCES = st.one_of(
    st.sampled_from([0.0, 2.0**-149, 2.0**-126, 1.0, 15.999999, 16.0, 16.000002, 3.4e38, INF]),
    st.floats(0.0, 100.0, width=32),
    st.integers(0, 6).map(float),
)
ELEMENTS = st.lists(st.tuples(DISTANCES, st.integers(0, 4)), min_size=1, max_size=70)


@given(elements=ELEMENTS, share=st.integers(0, 9), counted=st.booleans())
@LAWS
def test_the_weighted_quantile_is_that_of_a_sort(xp, elements, share, counted):
    """Weights are small integers, whose sums are exact in any order, so that the bits must agree."""
    x = np.float32([distance for distance, _ in elements])
    weights = np.ones(len(x), np.float32) if counted else np.float32([weight for _, weight in elements])
    target = np.float32(np.floor(weights.sum() * share / 8))
    found = xp(quantile, x[None], None if counted else weights[None], np.full((1, 1), target))
    assert found.tolist() == [[sorted_quantile(x.tolist(), weights.tolist(), float(target))]]


@pytest.mark.parametrize("n", [1, 15, 16, 17, 31, 33, 1000, 4099])
def test_the_weighted_quantile_of_many_rows(xp, n):
    random = np.random.default_rng(n)
    x = random.choice(np.float32([0.0, 0.1, 1.0, 7.5, 20.0, 1e9, INF]), (40, n)) * random.random((40, n), np.float32)
    x = np.nan_to_num(x, nan=INF, posinf=INF).astype(np.float32)
    weights = random.integers(0, 5, (40, n)).astype(np.float32)
    target = np.ceil(weights.sum(axis=1, keepdims=True) * random.random((40, 1), np.float32))
    target[0], target[1] = INF, weights[1].sum() + 1
    expected = [sorted_quantile(*row) for row in zip(x.tolist(), weights.tolist(), target[:, 0].tolist(), strict=True)]
    assert xp(quantile, x, weights, target)[:, 0].tolist() == expected


def test_the_weighted_quantile_of_arrays_that_do_not_lie_in_order(xp):
    x, weights = np.arange(40, dtype=np.float32).reshape(4, 10), np.ones((4, 10), np.float32)
    weights[:, ::2] = 0.0
    target = np.full((3, 4), 2.0, np.float32)
    found = xp(quantile, x[:, 1::2], weights[:, 1::2], target.T[:, :1])
    assert found.tolist() == [[3.0], [13.0], [23.0], [33.0]]


@pytest.mark.parametrize("n", [20, 100, 1000])
def test_the_weighted_quantile_where_sums_round(xp, n):
    """Targets that some of the sums meet within rounding: the bound may be a neighbour's, never one far away."""
    random = np.random.default_rng(n)
    x = np.sort(random.gamma(2.0, 3.0, (500, n)).astype(np.float32))
    weights = np.exp(-x)
    reached = np.cumsum(weights, axis=1, dtype=np.float64)
    place = random.integers(0, n - 2, (500, 1))
    target = np.take_along_axis(reached, place, 1)
    bound = xp(quantile, x, weights, target.astype(np.float32))
    tolerance = 1e-6 * reached[:, -1:]
    assert (np.where(x <= bound, weights, 0.0).sum(axis=1, keepdims=True, dtype=np.float64) >= target - tolerance).all()
    assert (np.where(x < bound, weights, 0.0).sum(axis=1, keepdims=True, dtype=np.float64) <= target + tolerance).all()
