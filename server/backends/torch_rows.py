"""The operators of a decoder in plain torch for whole rows: every earlier token is in the pass, none in a cache."""

import torch
import torch.nn.functional as F

from server.backends.torch_plain import activate, linear, normalize, pack, rotate

__all__ = ["activate", "attend", "linear", "normalize", "pack"]

Tensor = torch.Tensor


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
    """Attend from each token to the tokens of its row up to its own; arguments and result as in `torch_plain.attend`.

    Of `keys` only the shape is read, that of a cache with a slot for each row and as many positions as the longest row
    has tokens; nothing is written to it, so that gradients flow back through what is attended to.
    """
    if cos is not None and sin is not None:
        query, key = rotate(query, cos[positions], sin[positions]), rotate(key, cos[positions], sin[positions])
    num_rows, _, longest, head_dim = keys.shape
    queries = query.new_zeros(num_rows, query.shape[1], longest, head_dim)
    keys, values = key.new_zeros(keys.shape), value.new_zeros(keys.shape)
    queries[slots, :, positions], keys[slots, :, positions], values[slots, :, positions] = query, key, value
    if window or softcap:
        attended = _attend_in_part(queries, keys, values, scale, window, softcap)
    else:
        grouped = query.shape[1] != key.shape[1]
        attended = F.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, scale=scale, enable_gqa=grouped
        )
    return attended[slots, :, positions]


def _attend_in_part(queries: Tensor, keys: Tensor, values: Tensor, scale: float, window: int, softcap: float) -> Tensor:
    group = queries.shape[1] // keys.shape[1]
    scores = queries.float() @ keys.repeat_interleave(group, 1).float().transpose(-1, -2) * scale
    if softcap:
        scores = torch.tanh(scores / softcap) * softcap
    place = torch.arange(keys.shape[2], device=keys.device)
    seen = place <= place[:, None]
    if window:
        seen = seen & (place > place[:, None] - window)
    weights = torch.softmax(scores.masked_fill(~seen, -float("inf")), -1)
    return (weights @ values.repeat_interleave(group, 1).float()).to(queries.dtype)
