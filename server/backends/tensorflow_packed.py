"""The operators of a decoder in TensorFlow over weights laid out for Kelvin's product, where no program calls it."""

from typing import Any

import tensorflow as tf

from server.backends.tensorflow_plain import activate, attend, normalize

__all__ = ["TILE", "activate", "attend", "linear", "normalize", "pack"]

Tensor = Any

TILE = 32  # outputs that lie side by side


def pack(weight: Tensor) -> Tensor:
    """Return a weight [out, in] by tiles of outputs, [tiles, in, 32], filled up with zeros."""
    out_features, in_features = weight.shape
    padded = tf.pad(weight, [[0, -out_features % TILE], [0, 0]])
    return tf.transpose(tf.reshape(padded, [-1, TILE, in_features]), [0, 2, 1])


def linear(
    x: Tensor, packed: Tensor, out_features: int, bias: Tensor | None, residual: Tensor | None, as_float: bool
) -> Tensor:
    """Multiply as in `tensorflow_plain`, by a packed weight."""
    tiles = tf.transpose(tf.matmul(x[None], packed), [1, 0, 2])
    y = tf.reshape(tiles, [-1, packed.shape[0] * TILE])[:, :out_features]
    if bias is not None:
        y = y + bias
    return y if residual is None else y + residual
