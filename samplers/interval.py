"""What truncation asks about the tokens of a row whose distances lie in an interval.

A distance is how far a token lies below the best one, divided by the temperature, ≥ 0. In each function `distance` is
float32 [rows, vocab], inf for banned tokens; `low` and `high` are the interval, which holds its ends. These and the
answers are float32 [rows, 1]. A row whose `high` lies below its `low` asks nothing: its answer means nothing.
"""

from dataclasses import dataclass
from typing import Any

from samplers.xp import namespace

Array = Any


@dataclass(frozen=True, slots=True)
class Partition:
    """The partition function of an interval.

    Attributes:
        count: how many tokens it holds.
        mass: sum of their weights exp(-distance); the best token's weight is 1.
        moment: sum of distance · weight.
    """

    count: Array
    mass: Array
    moment: Array

    @property
    def mean(self) -> Array:
        """Return the mean distance, each token counted by its probability."""
        return namespace(self.mass).divide(self.moment, self.mass)

    @property
    def entropy(self) -> Array:
        """Return the entropy of the tokens, whose probabilities are proportional to their weights, in nats."""
        return namespace(self.mass).log(self.mass) + self.mean


def partition(distance: Array, low: Array, high: Array) -> Partition:
    """Sum up the tokens of an interval."""
    xp = namespace(distance)
    inside = _inside(distance, low, high)
    weights = xp.where(inside, xp.exp(-distance), 0.0)
    return Partition(
        count=xp.sum(xp.where(inside, xp.zeros_like(distance) + 1.0, 0.0)),
        mass=xp.sum(weights),
        moment=xp.sum(xp.where(inside, distance, 0.0) * weights),
    )


def quantile(distance: Array, low: Array, high: Array, centre: Array, target: Array, *, weighted: bool) -> Array:
    """Find the least width such that the tokens of an interval no farther than this from its centre reach a target.

    Args:
        distance: see above.
        low: see above.
        high: see above.
        centre: a distance.
        target: a sum of weights; inf asks nothing.
        weighted: whether a token's weight is exp(-distance); else it is 1.

    Returns:
        The width; inf where all tokens together do not reach the target.
    """
    xp = namespace(distance)
    inside = _inside(distance, low, high)
    gap = xp.where(inside, xp.abs(distance - centre), float("inf"))
    weights = xp.where(inside, xp.exp(-distance) if weighted else xp.zeros_like(distance) + 1.0, 0.0)
    return xp.weighted_quantile(gap, weights, target)


def extent(distance: Array, low: Array, high: Array, centre: Array, width: Array) -> tuple[Array, Array]:
    """Return the least and the greatest distance in an interval that differ from a centre by no more than a width.

    Args:
        distance: see above.
        low: see above.
        high: see above.
        centre: a distance.
        width: ≥ 0; inf restricts nothing.

    Returns:
        Two distances; inf and -inf where there is no such token.
    """
    xp = namespace(distance)
    inside = _inside(distance, low, high)
    chosen = inside & (xp.abs(distance - centre) <= width)
    nearest = -xp.max(xp.where(chosen, -distance, -float("inf")))
    return nearest, xp.max(xp.where(chosen, distance, -float("inf")))


def deviation(distance: Array, wanted: Array) -> Array:
    """Return the standard deviation, that of a population, of all distances that are not infinite.

    Args:
        distance: float32 [rows, vocab].
        wanted: bool [rows, 1]; the answer of other rows means nothing.
    """
    xp = namespace(distance)
    finite = xp.isfinite(distance)
    ones = xp.where(finite, xp.zeros_like(distance) + 1.0, 0.0)
    near = xp.where(finite, distance, 0.0)
    count = xp.sum(ones)
    away = ones * (near - xp.divide(xp.sum(near), count))
    return xp.sqrt(xp.divide(xp.sum(away * away), count))


def _inside(distance: Array, low: Array, high: Array) -> Array:
    return (low <= distance) & (distance <= high) & namespace(distance).isfinite(distance)
