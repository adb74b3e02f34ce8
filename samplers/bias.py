"""Additions to the logits and bans that come before everything else: logit_bias, allowed ids, bad words, min_tokens."""

from typing import Any

from samplers.xp import namespace

Array = Any

ANY = -1  # at a place of a bad word: matches every token, and the beginning of the text as well
NEVER = -2  # matches nothing


def apply_logit_bias(logits: Array, token_ids: Array, bias: Array) -> Array:
    """Add to the logits of some tokens.

    Args:
        logits: float32 [rows, vocab].
        token_ids: int32 [rows, width], padded by repeating pairs of an id and its bias.
        bias: float32 [rows, width]; 0 leaves a token as it is.
    """
    xp = namespace(logits)
    return xp.scatter(logits, token_ids, xp.gather(logits, token_ids) + bias)


def keep_allowed(logits: Array, allowed: Array) -> Array:
    """Ban the tokens that are not allowed.

    Args:
        logits: float32 [rows, vocab].
        allowed: bool [rows, vocab].
    """
    return namespace(logits).where(allowed, logits, -float("inf"))


def ban_bad_words(logits: Array, words: Array, tokens: Array, length: Array) -> Array:
    """Ban each token that would complete a sequence that is not wanted.

    Args:
        logits: float32 [rows, vocab].
        words: int32 [rows, words, longest]; a word's ids stand at the right, behind as many ANY as it is shorter than
            the longest; where there is no word, every place is NEVER.
        tokens: the text so far, int32 [rows, max_length].
        length: its length, int32 [rows], at least 1.
    """
    xp = namespace(logits)
    places = words.shape[-1] - 1
    position = length[:, None] - places + xp.arange(places, like=tokens)[None, :]
    recent = xp.where(position >= 0, xp.gather(tokens, xp.maximum(position, 0)), NEVER)[:, None, :]
    beginning, last = words[:, :, :-1], words[:, :, -1]
    completed = xp.all((beginning == ANY) | (beginning == recent))[:, :, 0] & (last >= 0)
    last = xp.maximum(last, 0)
    return xp.scatter_min(logits, last, xp.where(completed, -float("inf"), xp.gather(logits, last)))


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
