"""The primitives on TensorFlow tensors, eager or compiled by XLA; each means what its namesake in `numpy.py` says."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Array = Any

float32, int32 = tf.float32, tf.int32
_INFINITY_BITS = 0x7F800000


def exp(x: Array) -> Array:
    """Return e to the power of each element."""
    return tf.exp(x)


def log(x: Array) -> Array:
    """Return the natural logarithm; of 0 it is -inf."""
    return tf.math.log(x)


def log1p(x: Array) -> Array:
    """Return log(1 + x), exact for small x."""
    return tf.math.log1p(x)


def sqrt(x: Array) -> Array:
    """Return the square root."""
    return tf.sqrt(x)


def abs(x: Array) -> Array:
    """Return the magnitude of each element."""
    return tf.abs(x)


def divide(x: Array, y: Array) -> Array:
    """Return x / y; overflow is inf and 0 / 0 NaN."""
    return x / y


def power(x: Array, y: Array) -> Array:
    """Return x to the power of y; overflow is inf."""
    return tf.pow(x, y)


def shift_left(x: Array, bits: int) -> Array:
    """Move the bits of int32 to the left."""
    return tf.bitwise.left_shift(x, bits)


def shift_right(x: Array, bits: int) -> Array:
    """Move the bits of int32 to the right; copies of the sign bit follow."""
    return tf.bitwise.right_shift(x, bits)


def where(condition: Array, x: Array, y: Array) -> Array:
    """Choose from x where the condition holds and from y elsewhere; either may be a Python number."""
    return tf.where(condition, *_alike(x, y))


def minimum(x: Array, y: Array) -> Array:
    """Return the lesser of each pair; y may be a Python number."""
    return tf.minimum(*_alike(x, y))


def maximum(x: Array, y: Array) -> Array:
    """Return the greater of each pair; y may be a Python number."""
    return tf.maximum(*_alike(x, y))


def isfinite(x: Array) -> Array:
    """Say of each element whether it is neither NaN nor infinite."""
    return tf.math.is_finite(x)


def max(x: Array) -> Array:
    """Return each row's greatest element, [..., 1]; NaN where the row holds one."""
    highest = tf.reduce_max(x, axis=-1, keepdims=True)
    if not x.dtype.is_floating:
        return highest
    poisoned = tf.reduce_any(tf.math.is_nan(x), axis=-1, keepdims=True)  # XLA's maximum may pass over NaN
    return tf.where(poisoned, tf.constant(float("nan"), x.dtype), highest)


def sum(x: Array) -> Array:
    """Return each row's sum, [..., 1]."""
    return tf.reduce_sum(x, axis=-1, keepdims=True)


def all(x: Array) -> Array:
    """Say of each row of truth values whether all hold, [..., 1]."""
    return tf.reduce_all(x, axis=-1, keepdims=True)


def argmax(x: Array) -> Array:
    """Return the index of each row's greatest element, int32 [...]; the lowest index wins a tie."""
    highest = tf.reduce_max(x, axis=-1, keepdims=True)  # tf.argmax takes six times as long under XLA
    index = tf.range(tf.shape(x)[-1], dtype=tf.int32)
    return tf.reduce_min(tf.where(x == highest, index, tf.shape(x)[-1]), axis=-1)


def astype(x: Array, dtype: Any) -> Array:
    """Convert each element's value to another type."""
    return tf.cast(x, dtype)


def arange(stop: int, like: Array) -> Array:
    """Return 0, 1, …, stop - 1 as int32, on the device of another array."""
    return tf.range(stop, dtype=tf.int32)


def zeros_like(x: Array) -> Array:
    """Return zeros of the shape and type of another array."""
    return tf.zeros_like(x)


def concat(arrays: Sequence[Array]) -> Array:
    """Join arrays along their last axis."""
    return tf.concat(list(arrays), axis=-1)


def take(x: Array, rows: Array) -> Array:
    """Pick rows of x [rows, ...] by their indices."""
    return tf.gather(x, rows)


def gather(x: Array, indices: Array) -> Array:
    """Take from each row of x [rows, n] the elements at that row's indices, int32 [rows, m]."""
    return tf.gather(x, indices, batch_dims=1)


def scatter(x: Array, indices: Array, values: Array) -> Array:
    """Replace each row's elements of x [rows, n] at its indices; equal ones need equal values, and x is used up."""
    return tf.tensor_scatter_nd_update(x, _places(indices), values)


def scatter_min(x: Array, indices: Array, values: Array) -> Array:
    """Lower each row's elements of x [rows, n] at its indices to the least value given for each; x is used up."""
    return tf.tensor_scatter_nd_min(x, _places(indices), values)


def kernel(name: str, like: Array) -> Callable[..., Array] | None:
    """Return a kernel that computes what its name says for arrays like this one, or None where there is none."""
    return None


def weighted_quantile(x: Array, weights: Array | None, target: Array) -> Array:
    """Find each row's least bound t such that the weights of the elements x ≤ t sum to the target or more."""
    order = tf.bitcast(x, tf.int32)

    def narrow(i: Array, low: Array) -> tuple[Array, Array]:
        middle = low + (tf.bitwise.left_shift(1, 30 - i) - 1)
        within = tf.where(order <= middle, 1.0 if weights is None else weights, 0.0)
        return i + 1, tf.where(sum(within) >= target, low, middle + 1)

    asked = target < float("inf")
    passes = tf.where(tf.reduce_any(asked), 31, 0)  # each reads every token: none where no row asks
    start = tf.constant(0), tf.zeros_like(order[:, :1])
    _, low = tf.while_loop(lambda i, low: i < passes, narrow, start, maximum_iterations=31)
    return tf.bitcast(tf.where(asked, tf.minimum(low, _INFINITY_BITS), _INFINITY_BITS), tf.float32)


def _alike(x: Array, y: Array) -> tuple[Array, Array]:
    """Give a Python number the type of the tensor beside it."""
    if tf.is_tensor(x):
        return x, tf.convert_to_tensor(y, x.dtype)
    return tf.convert_to_tensor(x, y.dtype), y


def _places(indices: Array) -> Array:
    """Turn the indices of each row, [rows, m], into indices of the whole, [rows, m, 2]."""
    rows = tf.range(tf.shape(indices)[0], dtype=indices.dtype)[:, None]
    return tf.stack([tf.broadcast_to(rows, tf.shape(indices)), indices], axis=-1)
