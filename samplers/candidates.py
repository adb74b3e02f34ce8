"""Candidates: the tokens that truncation asks about, and the interval of distances that is still kept.

A distance is how far a tempered logit lies below the best one, ≥ 0. Whatever a truncation keeps is an interval of
distances, so that its answer is two numbers a row. To find them it needs the near tokens alone, as long as what it
keeps lies among them; how that is known for certain is written here, once for all truncations.
"""

from dataclasses import dataclass, replace
from typing import Any

from samplers.partition import Partition
from samplers.xp import namespace

Array = Any


@dataclass(frozen=True, slots=True)
class Candidates:
    """The nearest tokens of each row, and which of them are kept.

    Attributes:
        distance: of the tokens listed, float32 [rows, n], in any order; inf where fewer are listed.
        reach: every token nearer than this is listed, float32 [rows, 1]; inf where all are.
        whole: sums over all tokens of the row, listed or not.
        low: distance of the nearest token kept, float32 [rows, 1].
        high: tokens beyond are not kept, float32 [rows, 1].
        certain: bool [rows, 1]; False where a token that is not listed could have mattered.
    """

    distance: Array
    reach: Array
    whole: Partition
    low: Array
    high: Array
    certain: Array

    @property
    def kept(self) -> Array:
        """Say of each listed token whether it is kept, bool [rows, n]."""
        return (self.low <= self.distance) & (self.distance <= self.high)

    @property
    def weights(self) -> Array:
        """Return exp(-distance) of the listed tokens that are kept and 0 for the others, float32 [rows, n]."""
        xp = namespace(self.distance)
        return xp.where(self.kept, xp.exp(-self.distance), 0.0)

    @property
    def unlisted(self) -> Array:
        """Say whether tokens that are not listed may be among the kept, bool [rows, 1]."""
        xp = namespace(self.distance)
        return (self.high >= self.reach) & xp.isfinite(self.reach)

    @property
    def mass(self) -> Array:
        """Sum the weights of the kept, float32 [rows, 1]."""
        xp = namespace(self.distance)
        return xp.where(self.untouched, self.whole.mass, xp.sum(self.weights))

    @property
    def mean(self) -> Array:
        """Return the mean distance of the kept by their probability, float32 [rows, 1]."""
        xp = namespace(self.distance)
        weights = self.weights
        listed = xp.sum(xp.where(weights > 0.0, self.distance, 0.0) * weights) / xp.sum(weights)
        return xp.where(self.untouched, self.whole.moment / self.whole.mass, listed)

    @property
    def entropy(self) -> Array:
        """Return the entropy of the kept, renormalised, in nats, float32 [rows, 1]."""
        return namespace(self.distance).log(self.mass) + self.mean

    @property
    def count(self) -> Array:
        """Count the kept, float32 [rows, 1]."""
        xp = namespace(self.distance)
        ones = xp.zeros_like(self.distance) + 1.0
        return xp.where(self.untouched, self.whole.count, xp.sum(xp.where(self.kept, ones, 0.0)))

    @property
    def untouched(self) -> Array:
        """Say whether every token is kept, bool [rows, 1]."""
        return self.high == float("inf")

    def within(self, bound: Array, active: Array) -> "Candidates":
        """Keep what lies within a bound, and the nearest token in any case.

        Args:
            bound: float32 [rows, 1].
            active: bool [rows, 1]; other rows stay as they are.
        """
        xp = namespace(self.distance)
        high = xp.where(active, xp.minimum(self.high, xp.maximum(bound, self.low)), self.high)
        narrowed = replace(self, high=high)
        return replace(narrowed, certain=self.certain & ~(active & narrowed.unlisted))
