"""The weighted quantile: the bound at which summed weights reach a target, against a sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplers.xp import namespace
from tests.samplers.conftest import LAWS

INF = np.inf


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
