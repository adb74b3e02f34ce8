"""The primitives on NumPy arrays: the reference for what each of them means."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = Any

float32, int32 = np.float32, np.int32
_INFINITY_BITS = 0x7F800000


def exp(x: Array) -> Array:
    """Return e to the power of each element."""
    return np.exp(x)


def log(x: Array) -> Array:
    """Return the natural logarithm; of 0 it is -inf, without a warning."""
    with np.errstate(divide="ignore"):
        return np.log(x)


def log1p(x: Array) -> Array:
    """Return log(1 + x), exact for small x."""
    return np.log1p(x)


def sqrt(x: Array) -> Array:
    """Return the square root."""
    return np.sqrt(x)


def abs(x: Array) -> Array:
    """Return the magnitude of each element."""
    return np.abs(x)


def divide(x: Array, y: Array) -> Array:
    """Return x / y; overflow is inf and 0 / 0 NaN, without a warning."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return np.divide(x, y)


def power(x: Array, y: Array) -> Array:
    """Return x to the power of y; overflow is inf, without a warning."""
    with np.errstate(over="ignore"):
        return np.power(x, y)


def shift_left(x: Array, bits: int) -> Array:
    """Move the bits of int32 to the left."""
    return x << bits


def shift_right(x: Array, bits: int) -> Array:
    """Move the bits of int32 to the right; copies of the sign bit follow."""
    return x >> bits


def where(condition: Array, x: Array, y: Array) -> Array:
    """Choose from x where the condition holds and from y elsewhere; either may be a Python number."""
    return np.where(condition, x, y)


def minimum(x: Array, y: Array) -> Array:
    """Return the lesser of each pair; y may be a Python number."""
    return np.minimum(x, y)


def maximum(x: Array, y: Array) -> Array:
    """Return the greater of each pair; y may be a Python number."""
    return np.maximum(x, y)


def isfinite(x: Array) -> Array:
    """Say of each element whether it is neither NaN nor infinite."""
    return np.isfinite(x)


def max(x: Array) -> Array:
    """Return each row's greatest element, [..., 1]; NaN where the row holds one."""
    return np.max(x, axis=-1, keepdims=True)


def sum(x: Array) -> Array:
    """Return each row's sum, [..., 1]."""
    return np.sum(x, axis=-1, keepdims=True, dtype=x.dtype)


def all(x: Array) -> Array:
    """Say of each row of truth values whether all hold, [..., 1]."""
    return np.all(x, axis=-1, keepdims=True)


def argmax(x: Array) -> Array:
    """Return the index of each row's greatest element, int32 [...]; the lowest index wins a tie."""
    return np.argmax(x, axis=-1).astype(np.int32)


def astype(x: Array, dtype: Any) -> Array:
    """Convert each element's value to another type."""
    return x.astype(dtype)


def arange(stop: int, like: Array) -> Array:
    """Return 0, 1, …, stop - 1 as int32, on the device of another array."""
    return np.arange(stop, dtype=np.int32)


def zeros_like(x: Array) -> Array:
    """Return zeros of the shape and type of another array."""
    return np.zeros_like(x)


def concat(arrays: Sequence[Array]) -> Array:
    """Join arrays along their last axis."""
    return np.concatenate(arrays, axis=-1)


def take(x: Array, rows: Array) -> Array:
    """Pick rows of x [rows, ...] by their indices."""
    return x[rows]


def gather(x: Array, indices: Array) -> Array:
    """Take from each row of x [rows, n] the elements at that row's indices, int32 [rows, m]."""
    return np.take_along_axis(x, indices.astype(np.int64), axis=-1)


def scatter(x: Array, indices: Array, values: Array) -> Array:
    """Replace each row's elements of x [rows, n] at its indices; equal ones need equal values, and x is used up."""
    out = x.copy()
    np.put_along_axis(out, indices.astype(np.int64), values, axis=-1)
    return out


def scatter_min(x: Array, indices: Array, values: Array) -> Array:
    """Lower each row's elements of x [rows, n] at its indices to the least value given for each; x is used up."""
    out = x.copy()
    np.minimum.at(out, (np.arange(len(x))[:, None], indices), values)
    return out


def kernel(name: str, like: Array) -> Callable[..., Array] | None:
    """Return a kernel that computes what its name says for arrays like this one, or None where there is none."""
    return None


def weighted_quantile(x: Array, weights: Array | None, target: Array) -> Array:
    """Find each row's least bound t such that the weights of the elements x ≤ t sum to the target or more.

    Found without a sort, by bisection on the bits of the floats: of floats ≥ 0 the integers' order is the numbers' own,
    so 31 passes give the exact answer.

    Args:
        x: float32 [rows, n], ≥ 0; inf is allowed.
        weights: float32 [rows, n], ≥ 0; None counts each element as 1.
        target: float32 [rows, 1]; a row whose target is never reached, inf for one, has the bound inf.

    Returns:
        float32 [rows, 1].
    """
    order = x.view(np.int32)
    low = np.zeros_like(order[:, :1])
    for i in range(31):
        middle = low + ((1 << (30 - i)) - 1)
        within = np.where(order <= middle, np.float32(1.0) if weights is None else weights, np.float32(0.0))
        low = np.where(sum(within) >= target, low, middle + 1)
    return np.minimum(low, _INFINITY_BITS).view(np.float32)
