"""Candidates: the tokens that may still be drawn. Whatever a truncation keeps is an interval of distances."""

from dataclasses import dataclass, replace
from typing import Any

from samplers.interval import Partition, extent, partition, quantile
from samplers.xp import namespace

Array = Any


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which tokens of each row are kept: those with low ≤ distance ≤ high.

    Attributes:
        distance: how far each tempered logit lies below the best, float32 [rows, vocab], ≥ 0; inf for banned tokens.
        low: distance of the nearest token kept, float32 [rows, 1]; it only grows.
        high: distance beyond which none is kept, float32 [rows, 1]; it only shrinks.
    """

    distance: Array
    low: Array
    high: Array

    def sums(self, wanted: Array) -> Partition:
        """Sum up the kept.

        Args:
            wanted: bool [rows, 1]; the sums of other rows mean nothing.
        """
        return partition(self.distance, *self._ends(wanted))

    def quantile(self, target: Array, *, wanted: Array, centre: Array | None = None, weighted: bool = True) -> Array:
        """Find how far from a centre the kept reach a target.

        Args:
            target: of mass if `weighted`, else of tokens, float32 [rows, 1].
            wanted: bool [rows, 1]; the answer for other rows is inf.
            centre: a distance, float32 [rows, 1]; None is 0, where the best token is.
            weighted: whether tokens count by their weights.
        """
        xp = namespace(self.distance)
        middle = xp.zeros_like(self.low) if centre is None else centre
        ends = self._ends(wanted)
        sought = xp.where(wanted, target, float("inf"))
        return quantile(self.distance, *ends, middle, sought, weighted=weighted)

    def extent(self, centre: Array, width: Array, *, wanted: Array) -> tuple[Array, Array]:
        """Return the nearest and the farthest distance kept among those that differ from a centre by at most a width.

        Args:
            centre: float32 [rows, 1].
            width: float32 [rows, 1].
            wanted: bool [rows, 1]; the answers for other rows mean nothing.
        """
        return extent(self.distance, *self._ends(wanted), centre, width)

    def within(self, bound: Array, active: Array) -> "Candidates":
        """Keep what lies within a bound, and the nearest token in any case.

        Args:
            bound: float32 [rows, 1].
            active: bool [rows, 1]; other rows stay as they are.
        """
        xp = namespace(self.distance)
        return replace(self, high=xp.minimum(self.high, xp.where(active, xp.maximum(bound, self.low), float("inf"))))

    def between(self, low: Array, high: Array, active: Array) -> "Candidates":
        """Keep what lies between the distances of two tokens that are kept.

        Args:
            low: float32 [rows, 1].
            high: float32 [rows, 1].
            active: bool [rows, 1]; other rows stay as they are.
        """
        xp = namespace(self.distance)
        low = xp.maximum(self.low, xp.where(active, low, 0.0))
        return replace(self, low=low, high=xp.minimum(self.high, xp.where(active, high, float("inf"))))

    def _ends(self, wanted: Array) -> tuple[Array, Array]:
        return self.low, namespace(self.distance).where(wanted, self.high, -1.0)
