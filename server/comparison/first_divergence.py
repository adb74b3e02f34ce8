"""First divergence: where two samples that share their noise begin to differ."""

import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

# The last word of a text, in scripts that put spaces between words: those before Thai in Unicode.
_LAST_WORD = re.compile(r"[^\W\u0e00-\U0010ffff]*$")


def first_divergence(baseline: Sequence[int], other: Sequence[int]) -> int | None:
    """Return the position of the first token in which two samples differ, or None where they are the same.

    Args:
        baseline: token ids.
        other: likewise; one that ends where the other goes on differs there.
    """
    if tuple(baseline) == tuple(other):
        return None
    return _shared(zip(baseline, other, strict=False))


def shared_text(baseline: str, other: str) -> int:
    """Return how many characters two texts share at their beginning, without a word that they share a part of.

    Args:
        baseline: any text.
        other: likewise.
    """
    shared = _shared(zip(baseline, other, strict=False))
    follow = baseline[shared : shared + 1], other[shared : shared + 1]
    if not any(character.isalnum() for character in follow):
        return shared
    word = _LAST_WORD.search(other[:shared])
    assert word is not None, "the pattern matches the empty end"
    return word.start()


def _shared(pairs: Iterable[tuple[object, object]]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
