"""Additions to the logits and bans that come before everything else: logit_bias and min_tokens."""

from typing import Any

from samplers.xp import namespace

Array = Any


def apply_logit_bias(logits: Array, bias: Array) -> Array:
    """Add each row's bias.

    Args:
        logits: float32 [rows, vocab].
        bias: float32 [rows, vocab]; 0 leaves a token as it is, -inf bans it.
    """
    return logits + bias


def apply_min_tokens(logits: Array, stop_ids: Array, min_tokens: Array, step: Array) -> Array:
    """Ban the tokens that would end a row before it has its minimum.

    Args:
        logits: float32 [rows, vocab].
        stop_ids: int32 [rows, width], padded by repeating any of its ids.
        min_tokens: int32 [rows]; 0 bans nothing.
        step: tokens drawn so far, int32 [rows].
    """
    xp = namespace(logits)
    early = (step < min_tokens)[:, None]
    return xp.scatter(logits, stop_ids, xp.where(early, -float("inf"), xp.gather(logits, stop_ids)))
