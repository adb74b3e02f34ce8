"""The operators of a decoder on CUDA: those in plain torch, but attention by the fastest kernel that the device has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn

from server.backends.base import PromptPiece
from server.backends.torch_plain import activate, attend_to_placed, linear, normalize, pack, place
from server.models.spec import DecoderSpec

Tensor = torch.Tensor
Attention = Literal["flash", "sdpa", "plain"]

_FLASH_CAPABILITY = (8, 0)  # Ampere
_FLASH_WIDEST = 256  # of a head


def pick_attention(spec: DecoderSpec, dtype: torch.dtype, capability: tuple[int, int]) -> Attention:
    """Return the attention that a device can run a decoder with.

    Args:
        spec: the decoder's shape.
        dtype: of the cache.
        capability: the device's compute capability.

    Returns:
        `flash`, which reads each row's filled positions and no others; `sdpa`, torch's own choice over a copy of whole
        slots; `plain`, for scores with a softcap, which neither of them knows.
    """
    if spec.attention_softcap:
        return "plain"
    fits = spec.head_dim % 8 == 0 and spec.head_dim <= _FLASH_WIDEST and dtype in (torch.bfloat16, torch.float16)
    return "flash" if fits and capability >= _FLASH_CAPABILITY else "sdpa"


@dataclass(frozen=True, slots=True)
class Sequences:
    """Which tokens of a pass are whose: consecutive ones of a slot, of which the last sees all that is filled.

    Attributes:
        token_starts: index of each sequence's first token in the pass, and of what follows the last; int32 [n + 1].
        slots: int32 [n].
        lengths: positions that are filled, those of the pass included, int32 [n].
        longest: tokens of the longest.
    """

    token_starts: Tensor
    slots: Tensor
    lengths: Tensor
    longest: int


class CudaOperators:
    """The operators of `torch_plain` with another attention; same names, same arguments."""

    pack, linear = staticmethod(pack), staticmethod(linear)
    normalize, activate = staticmethod(normalize), staticmethod(activate)

    def __init__(self, attention: Attention) -> None:
        """Take every token for a sequence of its own, as in a decode step, until `read` says otherwise."""
        self._attention = attention
        self._pieces: Sequence[PromptPiece] = ()
        self._sequences: Sequences | None = None

    def read(self, pieces: Sequence[PromptPiece], device: torch.device) -> None:
        """Say that the next passes hold these pieces of prompts, in this order."""
        starts, slots, lengths = [0], [], []
        for piece in pieces:
            starts.append(starts[-1] + len(piece.token_ids))
            slots.append(piece.slot)
            lengths.append(piece.position + len(piece.token_ids))
        arrays = (torch.tensor(numbers, dtype=torch.int32, device=device) for numbers in (starts, slots, lengths))
        self._sequences = Sequences(*arrays, longest=max(len(piece.token_ids) for piece in pieces))
        self._pieces = pieces

    def attend(
        self,
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
        """Store each token's key and value, then attend from it; see `torch_plain.attend`."""
        query = place(query, key, value, cos, sin, keys, values, slots, positions)
        if self._attention == "flash":
            sequences = self._sequences or one_token_each(slots, positions)
            return flash_attend(query, keys, values, sequences, scale, window)
        if self._attention == "plain":
            return attend_to_placed(query, keys, values, slots, positions, scale, window, softcap)
        if not self._pieces:
            return sdpa_attend(query, keys[slots], values[slots], positions[:, None], scale, window)
        attended, start = [], 0
        for piece in self._pieces:  # each reads its slot in place, as far as it is filled
            end, filled = start + len(piece.token_ids), piece.position + len(piece.token_ids)
            own_keys, own_values = (cache[piece.slot : piece.slot + 1, :, :filled] for cache in (keys, values))
            own = sdpa_attend(query[start:end], own_keys, own_values, positions[None, start:end], scale, window)
            attended.append(own)
            start = end
        return torch.cat(attended)


def one_token_each(slots: Tensor, positions: Tensor) -> Sequences:
    """Return the sequences of a decode step: a token each, at the end of its slot."""
    starts = torch.arange(len(slots) + 1, dtype=torch.int32, device=slots.device)
    return Sequences(starts, slots.to(torch.int32), (positions + 1).to(torch.int32), longest=1)


def flash_attend(
    query: Tensor, keys: Tensor, values: Tensor, sequences: Sequences, scale: float, window: int
) -> Tensor:
    """Attend by FlashAttention over the cache as one row of all slots' positions, of which each sequence has a stretch.

    Args:
        query: bfloat16 or float16 [tokens, heads, head_dim].
        keys: [slots, kv_heads, max_length, head_dim], in memory position by position.
        values: likewise.
        sequences: the tokens' own.
        scale: multiplies the scores.
        window: how many positions a token sees, its own included; 0: all.
    """
    slot_length = keys.shape[2]
    starts = sequences.slots * slot_length
    # Where a stretch begins is read here, and how far it goes from `lengths`: the last entry only completes the array.
    key_starts = torch.cat([starts, starts[-1:] + slot_length])
    causal = (window - 1 if window else -1, 0)
    attended = varlen_attn(
        query.contiguous(),
        _in_a_row(keys),
        _in_a_row(values),
        sequences.token_starts,
        key_starts,
        sequences.longest,
        slot_length,
        scale=scale,
        window_size=(-1, -1) if sequences.longest == 1 and not window else causal,  # a lone token's fast kernel
        enable_gqa=query.shape[1] != keys.shape[1],
        seqused_k=sequences.lengths,
    )
    assert isinstance(attended, Tensor)
    return attended


def _in_a_row(cache: Tensor) -> Tensor:
    """View a cache as [slots · max_length, kv_heads, head_dim]."""
    return cache.transpose(1, 2).flatten(0, 1)


def sdpa_attend(query: Tensor, keys: Tensor, values: Tensor, positions: Tensor, scale: float, window: int) -> Tensor:
    """Attend by `scaled_dot_product_attention` with a mask.

    Args:
        query: [rows · tokens, heads, head_dim], row by row.
        keys: of each row, [rows, kv_heads, length, head_dim].
        values: likewise.
        positions: of the queries, int64 [rows, tokens].
        scale: multiplies the scores.
        window: how many positions a token sees, its own included; 0: all.
    """
    (rows, tokens), (_, heads, head_dim), kv_heads = positions.shape, query.shape, keys.shape[1]
    column = torch.arange(keys.shape[2], device=query.device)
    seen = column <= positions[..., None]
    if window:
        seen = seen & (column > positions[..., None] - window)
    # Query heads of one KV head are queries of one head: [rows, kv_heads, tokens · group, head_dim].
    grouped = query.view(rows, tokens, kv_heads, -1, head_dim).transpose(1, 2).reshape(rows, kv_heads, -1, head_dim)
    mask = seen.repeat_interleave(heads // kv_heads, 1)[:, None]
    attended = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scale)
    return attended.view(rows, kv_heads, tokens, -1, head_dim).transpose(1, 2).reshape(query.shape)
