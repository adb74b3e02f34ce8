"""The operators of a decoder in TensorFlow for whole rows: every earlier token is in the pass, none in a cache."""

from typing import Any

import tensorflow as tf

from server.backends.tensorflow_plain import activate, linear, normalize, pack, rotate

__all__ = ["activate", "attend", "linear", "normalize", "pack"]

Tensor = Any


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    keys: None,
    values: None,
    slots: Tensor,
    positions: Tensor,
    scale: float,
    window: int,
    softcap: float,
) -> Tensor:
    """Attend from each token to the tokens of its row up to its own; arguments and result as in `tensorflow_plain`.

    Rows start at position 0; what fills them up at their end is seen by nothing before it. `keys`, `values` and `slots`
    are not used.
    """
    if cos is not None and sin is not None:
        place = tf.reshape(positions, [-1])
        angle = tf.gather(cos, place), tf.gather(sin, place)
        query, key = rotate(query, *angle), rotate(key, *angle)
    rows, tokens = tf.unstack(tf.shape(positions))
    heads, kv_heads, head_dim = query.shape[1], key.shape[1], query.shape[2]
    group = heads // kv_heads
    grouped = tf.reshape(query, [rows, tokens, kv_heads, group, head_dim])
    grouped = tf.reshape(tf.transpose(grouped, [0, 2, 3, 1, 4]), [rows, kv_heads, group * tokens, head_dim])
    key, value = (tf.transpose(tf.reshape(x, [rows, tokens, kv_heads, head_dim]), [0, 2, 1, 3]) for x in (key, value))
    scores = tf.cast(tf.matmul(grouped, key, transpose_b=True), tf.float32) * scale
    if softcap:
        scores = tf.tanh(scores / softcap) * softcap
    seen = _seen(tokens, window)
    scores = tf.where(seen, tf.reshape(scores, [rows, kv_heads, group, tokens, tokens]), -float("inf"))
    weights = tf.reshape(tf.nn.softmax(scores), [rows, kv_heads, group * tokens, tokens])
    attended = tf.reshape(tf.matmul(tf.cast(weights, value.dtype), value), [rows, kv_heads, group, tokens, head_dim])
    return tf.reshape(tf.transpose(attended, [0, 3, 1, 2, 4]), [rows * tokens, heads, head_dim])


def _seen(tokens: Tensor, window: int) -> Tensor:
    """Say which tokens (second axis) each token sees, bool [tokens, tokens]."""
    place = tf.range(tokens)
    seen = place <= place[:, None]
    return seen & (place > place[:, None] - window) if window else seen
