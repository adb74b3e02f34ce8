"""History: what a row has read and written, kept so that one more token costs one pass over its positions.

Penalties ask how often a token was generated, rules against repetition how long the text before each position agrees
with the text before the next one. Both are kept for every position and brought up to date when a token arrives, so
nothing is as wide as the vocabulary and nothing is searched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samplers.xp import namespace

Array = Any


@dataclass(frozen=True, slots=True)
class History:
    """The tokens of each row and what is known of their positions.

    Attributes:
        tokens: prompt, then generated tokens, int32 [rows, max_length]; positions not reached yet repeat the first
            token, so that what is done to every position is done to it once more and to no other token.
        length: positions filled, int32 [rows].
        counts: how often the token at each position was generated, int32 [rows, max_length].
        matches: at each filled position i, how many tokens before it agree with the last ones of all; int32
            [rows, max_length], 0 at positions not reached yet. If it is m, drawing token i repeats m + 1 tokens.
    """

    tokens: Array
    length: Array
    counts: Array
    matches: Array


def append(history: History, token_ids: Array) -> History:
    """Add one token to every row.

    Args:
        history: with a position left in each row.
        token_ids: int32 [rows].
    """
    xp = namespace(history.tokens)
    kernel = xp.kernel("append", history.tokens)
    if kernel is not None:
        return History(*kernel(history.tokens, history.length, history.counts, history.matches, token_ids))
    token, length = token_ids[:, None], history.length[:, None]
    position = xp.arange(history.tokens.shape[-1], like=history.tokens)[None, :]
    tokens = xp.where(position == length, token, history.tokens)
    same = tokens == token
    count = xp.max(xp.where(history.tokens == token, history.counts, 0)) + 1
    prolonged = xp.where(same, history.matches + 1, 0)  # a match that ended before this token, and went on with it
    shifted = xp.concat([xp.zeros_like(length), prolonged[:, :-1]])
    return History(
        tokens=tokens,
        length=history.length + 1,
        counts=xp.where(same, count, history.counts),
        matches=xp.where(position <= length, shifted, 0),
    )


def history_row(prompt_ids: Sequence[int], generated_ids: Sequence[int], max_length: int) -> History:
    """Make the history of one row, in NumPy, without the leading axis.

    Args:
        prompt_ids: at least one token.
        generated_ids: what followed.
        max_length: positions; both together must fit.
    """
    token_ids = np.array([*prompt_ids, *generated_ids], np.int32)
    tokens = np.full(max_length, token_ids[0], np.int32)
    tokens[: len(token_ids)] = token_ids
    generated, times = np.unique(np.array(generated_ids, np.int32), return_counts=True)
    counts = np.zeros(max_length, np.int32)
    for token_id, count in zip(generated, times, strict=True):
        counts[tokens == token_id] = count
    matches = np.zeros(max_length, np.int32)
    matches[: len(token_ids)] = _suffix_matches(token_ids.tolist())
    return History(tokens, np.int32(len(token_ids)), counts, matches)


def _suffix_matches(token_ids: list[int]) -> list[int]:
    """Return for each i how long a suffix token_ids[:i] shares with token_ids: the Z-function, read backwards."""
    backwards = token_ids[::-1]
    prefixes = [0] * (len(backwards) + 1)  # prefixes[k]: how far backwards[k:] agrees with backwards
    left = right = 0
    for k in range(1, len(backwards)):
        length = min(prefixes[k - left], right - k) if k < right else 0
        while k + length < len(backwards) and backwards[length] == backwards[k + length]:
            length += 1
        prefixes[k] = length
        if k + length > right:
            left, right = k, k + length
    return [prefixes[len(backwards) - i] for i in range(len(backwards))]
