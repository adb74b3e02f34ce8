"""Rules against repeating what was said: no_repeat_ngram and DRY."""

from typing import Any

from samplers.history import History
from samplers.xp import namespace

Array = Any

_LARGEST = 3.4028234663852886e38  # of float32: DRY discourages, it does not ban


def discourage_repeats(
    logits: Array, history: History, ngram_size: Array, multiplier: Array, base: Array, allowed_length: Array
) -> Array:
    """Ban tokens that complete a second n-gram, and penalise those that prolong a repetition.

    A token that followed the last m tokens before costs multiplier · base ** (m - allowed_length) (DRY: p-e-w 2024,
    text-generation-webui #5677); it is banned if it would complete an n-gram that is there already (Paulus et al. 2017,
    arXiv:1705.04304). A token that may repeat in several places is judged by the worst of them.

    Args:
        logits: float32 [rows, vocab].
        history: of these rows.
        ngram_size: int32 [rows]; 0 bans nothing, 1 every token of the history.
        multiplier: float32 [rows]; 0 turns DRY off.
        base: float32 [rows], ≥ 1.
        allowed_length: int32 [rows]; matches shorter than this cost nothing, and never those of no token.
    """
    xp = namespace(logits)
    size, factor, allowed = ngram_size[:, None], multiplier[:, None], allowed_length[:, None]
    matches = history.matches
    banned = (size > 0) & (matches + 1 >= size)
    excess = xp.astype(matches - allowed, xp.float32)
    costly = (factor > 0.0) & (matches >= xp.maximum(allowed, 1))
    penalty = xp.minimum(factor * xp.power(base[:, None], xp.where(costly, excess, 0.0)), _LARGEST)
    logit = xp.gather(logits, history.tokens)
    logit = xp.where(banned, -float("inf"), logit - xp.where(costly, penalty, 0.0))
    return xp.scatter_min(logits, history.tokens, logit)
