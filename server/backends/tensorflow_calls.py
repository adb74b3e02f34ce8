"""The operators of a decoder and the draw as calls of Kelvin's CPU kernels; names and order of `tensorflow_plain`."""

from typing import Any

import tensorflow as tf

from server.backends.tensorflow_kernels import call
from server.backends.tensorflow_shared_cache import SharedCache

Tensor = Any

_ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "tanh")  # the order of library.cpp
_TILE = 32  # outputs that lie side by side


def pack(weight: Tensor) -> Tensor:
    """Return a weight [out, in] in the layout that `linear` reads: 1-D, by tiles of outputs, filled up with zeros."""
    out_features, in_features = weight.shape
    return call("pack", [weight], [((-(-out_features // _TILE) * _TILE * in_features,), weight.dtype)])[0]


def linear(
    x: Tensor, packed: Tensor, out_features: int, bias: Tensor | None, residual: Tensor | None, as_float: bool
) -> Tensor:
    """Multiply as in `tensorflow_plain`, by a packed weight."""
    operands = [operand for operand in (x, packed, bias, residual) if operand is not None]
    numbers = out_features, bias is not None, residual is not None, as_float
    return call("linear", operands, [((None, out_features), tf.float32 if as_float else x.dtype)], numbers)[0]


def normalize(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, centred: bool) -> Tensor:
    """Apply RMSNorm to the rows of x [rows, width], or to heads [rows, heads, width]; else as in `tensorflow_plain`."""
    if x.shape.rank > 2:
        heads = normalize(tf.reshape(x, [-1, x.shape[-1]]), weight, bias, eps, centred)
        return tf.reshape(heads, [-1, *x.shape[1:]])
    operands = [operand for operand in (x, weight, bias) if operand is not None]
    return call("normalize", operands, [((None, x.shape[-1]), x.dtype)], (eps, bias is not None, centred))[0]


def activate(x: Tensor, name: str, gated: bool) -> Tensor:
    """Apply an activation as in `tensorflow_plain`."""
    width = x.shape[1] // 2 if gated else x.shape[1]
    return call("activate", [x], [((None, width), x.dtype)], (_ACTIVATIONS.index(name), gated))[0]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    keys: SharedCache,
    values: SharedCache,
    slots: Tensor,
    positions: Tensor,
    scale: float,
    window: int,
    softcap: float,
) -> Tensor:
    """Store keys and values, and attend, as in `tensorflow_plain`, but each token to its own slot, whatever its row."""
    angles = [] if cos is None or sin is None else [cos, sin]
    operands = [query, key, value, slots, positions, keys.addresses, *angles]
    numbers = keys.offset, values.offset, keys.slots, keys.positions, scale, window, softcap, bool(angles)
    return call("attend", operands, [((None, *query.shape[1:]), query.dtype)], numbers, writes=True)[0]


def draw(logits: Tensor, *drawing: Tensor) -> list[Tensor]:
    """Draw a token for each row, as `draw` of samplers/chain.py does.

    Args:
        logits: processed, float32 [rows, vocab].
        drawing: the arrays of `SamplingState.drawing`.

    Returns:
        The arrays of `Sampled`: token ids int32 [rows], finite bool [rows], and the fields of `Kept`.
    """
    column = (None, 1), tf.float32
    return call("draw", [logits, *drawing], [((None,), tf.int32), ((None,), tf.bool), *[column] * 4])
