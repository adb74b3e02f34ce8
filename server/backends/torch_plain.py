"""The operators of a decoder in plain torch, for devices without Kelvin's kernels; same names, same arguments."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

Tensor = torch.Tensor

_GROUP = 32  # inputs of one output that share a scale, where weights are int8
_LARGEST_CODE = 127


def pack(weight: Tensor) -> Tensor:
    """Return a weight [out, in] in the layout that `linear` reads: as it is."""
    return weight


def linear(
    x: Tensor, packed: Tensor, out_features: int, bias: Tensor | None, residual: Tensor | None, as_float: bool
) -> Tensor:
    """Multiply x [rows, in] by a packed weight and add bias [out] and residual [rows, out]; float32 if `as_float`."""
    y = F.linear(x, packed, bias)
    if residual is not None:
        y = y + residual
    return y.float() if as_float else y


def pack_int8(weight: Tensor) -> Tensor:
    """Round a weight [out, in] to codes from -127 to 127, with a scale for each 32 inputs of an output.

    Returns:
        uint8 [out, groups, 34]: each group's scale, bfloat16, and its codes; inputs that are missing have the code 0.
    """
    groups = F.pad(weight.float(), (0, -weight.shape[1] % _GROUP)).unflatten(1, (-1, _GROUP))
    largest = groups.abs().amax(-1, keepdim=True) / _LARGEST_CODE
    # The next bfloat16 that is no smaller, so that no code exceeds the largest.
    scales = (largest.view(torch.int32) + 0xFFFF >> 16).to(torch.int16)
    codes = (groups / scales.view(torch.bfloat16)).nan_to_num(0.0).round().to(torch.int8)  # 0 / 0: nothing there
    return torch.cat([scales.view(torch.uint8), codes.view(torch.uint8)], -1)


def linear_int8(
    x: Tensor, packed: Tensor, out_features: int, bias: Tensor | None, residual: Tensor | None, as_float: bool
) -> Tensor:
    """Multiply as `linear` does by a weight that `pack_int8` made, which becomes one of x's type at every call."""
    scales = packed[..., :2].contiguous().view(torch.bfloat16).float()
    weight = (packed[..., 2:].contiguous().view(torch.int8) * scales).flatten(1)[:, : x.shape[1]]
    return linear(x, weight.to(x.dtype), out_features, bias, residual, as_float)


def normalize(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, centred: bool) -> Tensor:
    """Apply RMSNorm to the rows of x [rows, width], or LayerNorm if `centred`; computed in float32."""
    if centred:
        y = F.layer_norm(x.float(), x.shape[-1:], weight.float(), None if bias is None else bias.float(), eps)
    else:
        y = F.rms_norm(x.float(), x.shape[-1:], weight.float(), eps)
    return y.to(x.dtype)


def activate(x: Tensor, name: str, gated: bool) -> Tensor:
    """Apply an activation, or the tangent of capped logits; gated: x [rows, 2 · width] holds gate and up."""
    gate, up = x.chunk(2, -1) if gated else (x, None)
    y = _ACTIVATIONS[name](gate)
    return y if up is None else y * up


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "tanh": torch.tanh,
}


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    positions: Tensor,
    scale: float,
    window: int,
    softcap: float,
) -> Tensor:
    """Store each token's key and value at its slot and position, then attend from it to all positions up to its own.

    Args:
        query: [tokens, heads, head_dim].
        key: [tokens, kv_heads, head_dim].
        value: [tokens, kv_heads, head_dim].
        cos: rotary angles' cosines, float32 [max_length, half]; None: no rotation.
        sin: their sines.
        keys: the cache, [slots, kv_heads, max_length, head_dim]; written.
        values: likewise.
        slots: int64 [tokens].
        positions: int64 [tokens].
        scale: multiplies the scores.
        window: how many positions a token sees, its own included; 0: all.
        softcap: scores become tanh(score / softcap) · softcap; 0: they stay.

    Returns:
        [tokens, heads, head_dim].
    """
    query = place(query, key, value, cos, sin, keys, values, slots, positions)
    return attend_to_placed(query, keys, values, slots, positions, scale, window, softcap)


def place(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    positions: Tensor,
) -> Tensor:
    """Turn queries and keys, store keys and values, and return the queries; arguments as for `attend`."""
    if cos is not None and sin is not None:
        query, key = rotate(query, cos[positions], sin[positions]), rotate(key, cos[positions], sin[positions])
    keys[slots, :, positions], values[slots, :, positions] = key, value
    return query


def attend_to_placed(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    positions: Tensor,
    scale: float,
    window: int,
    softcap: float,
) -> Tensor:
    """Attend from turned queries to what is stored; arguments as for `attend`."""
    tokens, heads, head_dim = query.shape
    grouped = query.view(tokens, keys.shape[1], -1, head_dim)  # query heads of one KV head are rows of one product
    scores = grouped.float() @ keys[slots].float().transpose(-1, -2) * scale
    if softcap:
        scores = torch.tanh(scores / softcap) * softcap
    column = torch.arange(keys.shape[2], device=query.device)
    seen = column <= positions[:, None]
    if window:
        seen = seen & (column > positions[:, None] - window)
    weights = torch.softmax(scores.masked_fill(~seen[:, None, None], -float("inf")), -1)
    return (weights @ values[slots].float()).to(query.dtype).view(tokens, heads, head_dim)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn heads [tokens, heads, head_dim] by each token's angles, [tokens, half]."""
    half = cos.shape[-1]
    a, b, rest = x[..., :half].float(), x[..., half : 2 * half].float(), x[..., 2 * half :].float()
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1).to(x.dtype)
