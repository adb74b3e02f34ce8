"""Penalties on tokens that have occurred: repetition, presence and frequency."""

from typing import Any

from samplers.history import History
from samplers.xp import namespace

Array = Any


def penalize(logits: Array, history: History, repetition: Array, presence: Array, frequency: Array) -> Array:
    """Lower the logits of tokens that have occurred.

    The repetition penalty divides positive logits and multiplies negative ones (Keskar et al. 2019, CTRL,
    arXiv:1909.05858, with the sign heeded as transformers does), for tokens of the prompt and generated ones. Presence
    and frequency are subtracted afterwards, for generated tokens only (OpenAI).

    Args:
        logits: float32 [rows, vocab].
        history: of these rows.
        repetition: float32 [rows], above 0; 1 changes nothing.
        presence: subtracted once, float32 [rows].
        frequency: subtracted as often as the token was generated, float32 [rows].
    """
    xp = namespace(logits)
    factor = repetition[:, None]
    logit = xp.gather(logits, history.tokens)
    logit = xp.where(logit > 0.0, xp.divide(logit, factor), logit * factor)
    count = xp.astype(history.counts, xp.float32)
    logit = logit - frequency[:, None] * count - presence[:, None] * xp.minimum(count, 1.0)
    return xp.scatter(logits, history.tokens, logit)
