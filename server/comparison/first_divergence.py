"""First divergence: where two samples that share their noise begin to differ."""

from collections.abc import Sequence
from itertools import takewhile


def first_divergence(baseline: Sequence[int], other: Sequence[int]) -> int | None:
    """Return the position of the first token in which two samples differ, or None where they are the same.

    Args:
        baseline: token ids.
        other: likewise; one that ends where the other goes on differs there.
    """
    if tuple(baseline) == tuple(other):
        return None
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(baseline, other, strict=False)))


def shared_text(baseline: str, other: str) -> int:
    """Return how many characters two texts share at their beginning, back to the end of a whole word.

    Args:
        baseline: any text.
        other: likewise.
    """
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(baseline, other, strict=False)))
    if shared == len(baseline) == len(other):
        return shared
    return max(other.rfind(" ", 0, shared + 1), 0)
