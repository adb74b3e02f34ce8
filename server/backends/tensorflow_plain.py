"""The operators of a decoder in TensorFlow, eager or compiled by XLA; the names and the order of `torch_plain`."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from server.backends.tensorflow_cache import BLOCK, Cache

Tensor = Any

_MASKED = -1e30  # a score so low that its weight is 0; finite, since a block may hold nothing else


def pack(weight: Tensor) -> Tensor:
    """Return a weight [out, in] in the layout that `linear` reads: turned, so that no step has to turn it."""
    return tf.transpose(weight)


def linear(
    x: Tensor, packed: Tensor, out_features: int, bias: Tensor | None, residual: Tensor | None, as_float: bool
) -> Tensor:
    """Multiply x [rows, in] by a packed weight and add bias [out] and residual [rows, out]; float32 if `as_float`."""
    y = tf.matmul(x, packed)
    if bias is not None:
        y = y + bias
    if residual is not None:
        y = y + residual
    return tf.cast(y, tf.float32) if as_float else y


def normalize(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, centred: bool) -> Tensor:
    """Apply RMSNorm to the rows of x [rows, width], or LayerNorm if `centred`; computed in float32."""
    y = tf.cast(x, tf.float32)
    if centred:
        y = y - tf.reduce_mean(y, -1, keepdims=True)
    y = y * tf.math.rsqrt(tf.reduce_mean(y * y, -1, keepdims=True) + eps) * weight
    if bias is not None:
        y = y + bias
    return tf.cast(y, x.dtype)


def activate(x: Tensor, name: str, gated: bool) -> Tensor:
    """Apply an activation, or the tangent of capped logits; gated: x [rows, 2 · width] holds gate and up."""
    gate, up = tf.split(x, 2, -1) if gated else (x, None)
    y = _ACTIVATIONS[name](gate)
    return y if up is None else y * up


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": tf.nn.silu,
    "gelu": tf.nn.gelu,
    "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "relu": tf.nn.relu,
    "tanh": tf.tanh,
}


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    keys: Cache,
    values: Cache,
    slots: Tensor,
    positions: Tensor,
    scale: float,
    window: int,
    softcap: float,
) -> Tensor:
    """Store each token's key and value at its slot and position, then attend from it to all positions up to its own.

    A row's scores are summed up block by block with a running maximum (Milakov and Gimelshein 2018, arXiv:1805.02867),
    in a loop that ends at the last position of all, so that nothing is read or copied beyond.

    Args:
        query: [rows · tokens, heads, head_dim], row by row.
        key: [rows · tokens, kv_heads, head_dim].
        value: [rows · tokens, kv_heads, head_dim].
        cos: rotary angles' cosines, float32 [max_length, half]; None: no rotation.
        sin: their sines.
        keys: the cache; written.
        values: likewise.
        slots: where tokens are stored, int32 [rows, tokens]; a row reads the slot of its first token.
        positions: int32 [rows, tokens].
        scale: multiplies the scores.
        window: how many positions a token sees, its own included; 0: all.
        softcap: scores become tanh(score / softcap) · softcap; 0: they stay.

    Returns:
        [rows · tokens, heads, head_dim].
    """
    if cos is not None and sin is not None:
        place = tf.reshape(positions, [-1])
        angle = tf.gather(cos, place), tf.gather(sin, place)
        query, key = rotate(query, *angle), rotate(key, *angle)
    for cache, new in ((keys, key), (values, value)):
        cache.store(new, tf.reshape(slots, [-1]), tf.reshape(positions, [-1]))
    grouped = _group(tf.cast(query, tf.float32) * scale, key.shape[1], positions)
    last = tf.tile(positions, [1, query.shape[1] // key.shape[1]])[:, None, :, None]
    attended = _sum_blocks(grouped, last, keys, values, slots[:, 0], window, softcap)
    return tf.cast(_ungroup(attended, query.shape, positions), query.dtype)


def _group(query: Tensor, kv_heads: int, positions: Tensor) -> Tensor:
    """Turn queries [rows · tokens, heads, head_dim] into [rows, kv_heads, group · tokens, head_dim].

    So all queries of one head of keys are the rows of one product.
    """
    rows, tokens = tf.unstack(tf.shape(positions))  # unknown where a graph is made, constants where XLA compiles it
    heads, head_dim = query.shape[1:]
    grouped = tf.reshape(query, [rows, tokens, kv_heads, heads // kv_heads, head_dim])
    return tf.reshape(tf.transpose(grouped, [0, 2, 3, 1, 4]), [rows, kv_heads, heads // kv_heads * tokens, head_dim])


def _ungroup(attended: Tensor, shape: Tensor, positions: Tensor) -> Tensor:
    """Undo `_group`; `shape` is that of the queries."""
    rows, tokens = tf.unstack(tf.shape(positions))
    kv_heads, (heads, head_dim) = attended.shape[1], shape[1:]
    attended = tf.reshape(attended, [rows, kv_heads, heads // kv_heads, tokens, head_dim])
    return tf.reshape(tf.transpose(attended, [0, 3, 1, 2, 4]), [rows * tokens, heads, head_dim])


def _sum_blocks(
    query: Tensor, last: Tensor, keys: Cache, values: Cache, slot: Tensor, window: int, softcap: float
) -> Tensor:
    """Attend from grouped, scaled queries to the blocks of a cache, up to the last block that any of them sees.

    Args:
        query: float32 [rows, kv_heads, queries, head_dim].
        last: the position of each query, int32 [rows, 1, queries, 1].
        keys: the cache.
        values: likewise.
        slot: of each row, int32 [rows].
        window: see `attend`.
        softcap: see `attend`.

    Returns:
        float32, of the shape of the queries.
    """
    end_of_row = tf.reduce_max(last, 2, keepdims=True)

    def add_block(number: Tensor, best: Tensor, mass: Tensor, mixed: Tensor) -> tuple[Tensor, ...]:
        scores = tf.matmul(query, keys.block(slot, number), transpose_b=True)
        if softcap:
            scores = tf.tanh(scores / softcap) * softcap
        column = number * BLOCK + tf.range(BLOCK)
        seen = column <= last
        if window:
            seen = seen & (column > last - window)
        scores = tf.where(seen, scores, _MASKED)
        higher = tf.maximum(best, tf.reduce_max(scores, -1, keepdims=True))
        faded, weights = tf.exp(best - higher), tf.exp(scores - higher)
        # What an earlier sequence left behind has weight 0, which would keep a NaN.
        value = tf.where(column[:, None] <= end_of_row, values.block(slot, number), 0.0)
        mixed = mixed * faded + tf.matmul(weights, value)
        return number + 1, higher, mass * faded + tf.reduce_sum(weights, -1, keepdims=True), mixed

    lowest = tf.zeros_like(query[..., :1]) + _MASKED
    start = tf.constant(0), lowest, tf.zeros_like(lowest), tf.zeros_like(query)
    end = tf.reduce_max(last) // BLOCK + 1
    _, _, mass, mixed = tf.while_loop(lambda number, *sums: number < end, add_block, start)
    return mixed / mass


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn heads [tokens, heads, head_dim] by each token's angles, [tokens, half]."""
    half = cos.shape[-1]
    y = tf.cast(x, tf.float32)
    a, b, rest = y[..., :half], y[..., half : 2 * half], y[..., 2 * half :]
    cos, sin = cos[:, None], sin[:, None]
    return tf.cast(tf.concat([a * cos - b * sin, b * cos + a * sin, rest], -1), x.dtype)
