"""Histogram: how often a number was how large; plain counts, for whoever looks."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Written by one thread; a reader may see one number a step before another.

    Attributes:
        bounds: upper bounds of the buckets, rising, each inclusive.
        counts: of each bucket, and of what lies beyond the last bound.
        total: of all numbers.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a number."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return, bound by bound, how many numbers were no greater; the last bound is +Inf."""
        names = [*map(str, self.bounds), "+Inf"]
        running = 0
        return [(name, running := running + count) for name, count in zip(names, list(self.counts), strict=True)]
