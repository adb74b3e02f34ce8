"""Repetition within one text: n-grams said again, and endings that go round in a loop."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from samplers.ngrams import distinct

SHORTEST_PHRASE = 2  # tokens
FEWEST_COPIES = 3


class Loop(NamedTuple):
    """A text's ending: a phrase of so many tokens, said so many times in full."""

    length: int
    copies: int


def repetition(sequence: Sequence[Hashable], n: int = 4) -> float:
    """Return seq-rep-n, the share of a text's n-grams that occurred before (Welleck et al. 2020).

    Args:
        sequence: tokens or words of one text.
        n: length, ≥ 1.

    Returns:
        In [0, 1); 0 where the text is shorter than n, which has nothing to say again.
    """
    share = distinct([sequence], n)
    return 0.0 if share is None else 1 - share


def loop(sequence: Sequence[Hashable]) -> Loop | None:
    """Return the loop that a text ends in: three or more copies of a phrase of two or more tokens.

    This is what Holtzman et al. 2020 say in words; their program counts otherwise.

    Args:
        sequence: tokens or words of one text, without an end-of-sequence token.

    Returns:
        Of phrases that loop, the shortest; None where none does.
    """
    for length in range(SHORTEST_PHRASE, len(sequence) // FEWEST_COPIES + 1):
        copies = 1 + _again(sequence, length) // length
        if copies >= FEWEST_COPIES:
            return Loop(length, copies)
    return None


def _again(sequence: Sequence[Hashable], length: int) -> int:
    """Count the tokens at the end that equal the one `length` before."""
    ending = zip(reversed(sequence), reversed(sequence[: len(sequence) - length]), strict=False)
    return next((place for place, (own, before) in enumerate(ending) if own != before), len(sequence) - length)
