"""The partition function of a row: how much weight its tokens have together, and how far away it lies."""

from dataclasses import dataclass
from typing import Any

from samplers.xp import namespace

Array = Any


@dataclass(frozen=True, slots=True)
class Partition:
    """Sums over the tokens of each row that are not banned; all float32 [rows, 1].

    Attributes:
        count: how many they are.
        deviation: of their distances, the standard deviation of a population.
        mass: sum of their weights exp(-distance); the best token's is 1.
        moment: sum of distance · weight.
    """

    count: Array
    deviation: Array
    mass: Array
    moment: Array

    @property
    def entropy(self) -> Array:
        """Return the entropy of the distribution that is proportional to the weights, in nats."""
        return namespace(self.mass).log(self.mass) + self.moment / self.mass


def partition(distance: Array, divisor: Array) -> Partition:
    """Sum up distance / divisor.

    Args:
        distance: float32 [rows, n], ≥ 0; inf for banned tokens.
        divisor: float32 [rows, 1], above 0.
    """
    xp = namespace(distance)
    kernel = xp.kernel("partition", distance)
    if kernel is not None:
        return Partition(*kernel(distance, divisor))
    tempered = xp.divide(distance, divisor)
    counts = xp.isfinite(tempered)
    ones, near = xp.where(counts, xp.zeros_like(tempered) + 1.0, 0.0), xp.where(counts, tempered, 0.0)
    weights = xp.exp(-tempered)
    count = xp.sum(ones)
    deviation = ones * (near - xp.divide(xp.sum(near), count))
    return Partition(
        count=count,
        deviation=xp.sqrt(xp.divide(xp.sum(deviation * deviation), count)),
        mass=xp.sum(weights),
        moment=xp.sum(near * weights),
    )
