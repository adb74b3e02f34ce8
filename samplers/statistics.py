"""Paired statistics: the unit is the prompt, and what counts is an arm's value less the baseline's, prompt by prompt.

Completions of one prompt are no independent evidence about prompts: a test over all of them pooled raises its false
alarms with their number. Nor are they ever drawn again with replacement: duplicates would pass for a lack of diversity.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import scipy  # type: ignore[import-untyped]  # loads its parts when they are used
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Sample = TypeVar("Sample")
ROUNDING = 1e-12  # relative; values nearer to one another than this are the same
LEAST_FOR_BCA = 20  # prompts; with fewer, bootstrap intervals are too narrow
RESAMPLES = 9_999


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Tally(NamedTuple):
    """How many differences are positive, zero and negative."""

    wins: int
    ties: int
    losses: int


def subtract(arm: ArrayLike, baseline: ArrayLike) -> Floats:
    """Return the differences of paired values; two that differ by rounding alone have the difference 0.

    Args:
        arm: finite [prompts].
        baseline: finite [prompts], in the same order.

    Raises:
        ValueError: the two are not equally long, or not finite.
    """
    first, second = checked(arm), checked(baseline)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}: give one of each per prompt")
    gaps = first - second
    return np.where(np.abs(gaps) <= ROUNDING * np.maximum(np.abs(first), np.abs(second)), 0.0, gaps)


def tally(differences: ArrayLike) -> Tally:
    """Count wins, ties and losses."""
    signs = np.sign(checked(differences))
    return Tally(int(np.sum(signs > 0)), int(np.sum(signs == 0)), int(np.sum(signs < 0)))


def spread(differences: ArrayLike) -> float:
    """Return the standard deviation of a sample; 0 where rounding is all that varies.

    Args:
        differences: finite [prompts], at least 2.

    Raises:
        ValueError: there are fewer than 2, or one is not finite.
    """
    values = checked(differences, least=2)
    deviation = float(np.std(values, ddof=1))
    return 0.0 if deviation <= ROUNDING * float(np.max(np.abs(values))) else deviation


def effect_size(differences: ArrayLike) -> float:
    """Return d_z, the mean in units of the standard deviation (Cohen 1988); 0 / 0 is 0, and a constant's is infinite.

    Args:
        differences: finite [prompts], at least 2.

    Raises:
        ValueError: there are fewer than 2, or one is not finite.
    """
    mean, deviation = float(np.mean(checked(differences, least=2))), spread(differences)
    if deviation == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / deviation


def t_interval(differences: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return Student's interval of the mean difference; that of a constant is the point.

    Holds its level from few prompts on where differences are about normal, and falls to 87 % where they are strongly
    skewed, so show the prompts beside it.

    Args:
        differences: finite [prompts], at least 2.
        confidence: in (0, 1).

    Raises:
        ValueError: there are fewer than 2, or one is not finite.
    """
    values = checked(differences, least=2)
    error = spread(values) / math.sqrt(len(values))
    return _student(float(np.mean(values)), error, len(values) - 1, confidence)


def bca_interval(differences: ArrayLike, confidence: float = 0.95, *, seed: int = 0) -> Interval:
    """Return the bootstrap interval of the mean, over prompts, bias-corrected and accelerated (Efron 1987).

    Args:
        differences: finite [prompts], at least 20: with fewer it is too narrow. A constant's interval is the point.
        confidence: in (0, 1).
        seed: of the resamples.

    Raises:
        ValueError: there are fewer than 20, or one is not finite.
    """
    values = checked(differences, least=LEAST_FOR_BCA)
    if spread(values) == 0:
        return Interval(float(values[0]), float(values[0]))
    found = scipy.stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        batch=1_000,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def jackknife_interval(
    baseline: Sequence[Sample],
    arm: Sequence[Sample],
    statistic: Callable[[Sequence[Sample], Sequence[Sample]], float],
    confidence: float = 0.95,
) -> Interval:
    """Return an interval of a statistic of one prompt's samples, by leaving out a pair at a time (Tukey 1958).

    It speaks of other samples of this prompt, not of other prompts.

    Args:
        baseline: its samples, at least 3, since a statistic over pairs needs two when one is left out.
        arm: its samples, as many; those at one place share their noise, or nothing.
        statistic: of the baseline's and the arm's samples, finite.
        confidence: in (0, 1).

    Raises:
        ValueError: there are fewer than 3 samples, or not as many of each, or the statistic is not finite.
    """
    count = len(baseline)
    if count != len(arm) or count < 3:
        raise ValueError(f"{len(arm)} samples against {count}: give as many of each, and at least 3")
    without = [statistic(_leave_out(baseline, place), _leave_out(arm, place)) for place in range(count)]
    error = spread(without) * (count - 1) / math.sqrt(count)
    return _student(float(checked([statistic(baseline, arm)])[0]), error, count - 1, confidence)


def equivalence_p(differences: ArrayLike, margin: float) -> float:
    """Return the p-value of two one-sided t tests that the mean lies within ±margin (TOST, Schuirmann 1987).

    Small where the two are equivalent: p ≤ 0.05 just where the 90 % interval lies within the margin.

    Args:
        differences: finite [prompts], at least 2.
        margin: the greatest difference that does not matter, above 0.

    Raises:
        ValueError: there are fewer than 2 differences, one is not finite, or the margin is not above 0.
    """
    values = checked(differences, least=2)
    if not margin > 0:
        raise ValueError(f"a margin of {margin} leaves no room for a difference: give one above 0")
    error = spread(values) / math.sqrt(len(values))
    nearest = margin - abs(float(np.mean(values)))
    if error == 0:
        return 0.0 if nearest > 0 else 1.0
    return float(scipy.stats.t.sf(nearest / error, len(values) - 1))


def checked(values: ArrayLike, *, least: int = 1) -> Floats:
    """Return values as an array.

    Args:
        values: [count].
        least: count that is asked for.

    Raises:
        ValueError: they are not one row of at least so many finite numbers.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < least or not np.all(np.isfinite(array)):
        raise ValueError(f"values of shape {array.shape}: give one row of at least {least} finite numbers")
    return array


def _student(centre: float, error: float, freedom: int, confidence: float) -> Interval:
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) * error
    return Interval(centre - half, centre + half)


def _leave_out(samples: Sequence[Sample], place: int) -> list[Sample]:
    return [*samples[:place], *samples[place + 1 :]]
