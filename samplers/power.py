"""Power of the paired t test, by the exact noncentral t: what so many prompts can show, and how many an effect needs.

The sign-flip test, which gives the p-values, has nearly the same power from about ten prompts on.
"""

import bisect
import math

import scipy  # type: ignore[import-untyped]  # loads its parts when they are used

MOST_PROMPTS = 1_000_000
USUAL_POWER = 0.8


def power(effect_size: float, prompts: int, alpha: float = 0.05) -> float:
    """Return how probable it is that the two-sided test finds an effect.

    Args:
        effect_size: d_z, the mean difference in standard deviations, finite; 0 gives alpha.
        prompts: at least 2.
        alpha: level of the test, in (0, 1).

    Raises:
        ValueError: there are fewer than 2 prompts.
    """
    if prompts < 2:
        raise ValueError(f"{prompts} prompts have no spread: give at least 2")
    freedom, shift = prompts - 1, abs(effect_size) * math.sqrt(prompts)
    edge = scipy.stats.t.isf(alpha / 2, freedom)
    near, far = scipy.stats.nct.sf(edge, freedom, [shift, -shift])  # cdf(-edge, freedom, shift) is NaN for great shifts
    return float(near + far)


def minimum_detectable(deviation: float, prompts: int, alpha: float = 0.05, wanted: float = USUAL_POWER) -> float:
    """Return the least mean difference that is found with the power wanted.

    Args:
        deviation: standard deviation of the differences, ≥ 0; 0 gives 0.
        prompts: at least 2.
        alpha: level of the test, in (0, 1).
        wanted: power, in (alpha, 1).

    Raises:
        ValueError: there are fewer than 2 prompts.
    """
    high = 1.0
    while power(high, prompts, alpha) < wanted:
        high *= 2
    effect = scipy.optimize.brentq(lambda size: power(size, prompts, alpha) - wanted, 0.0, high)
    return float(effect) * deviation


def prompts_needed(effect_size: float, alpha: float = 0.05, wanted: float = USUAL_POWER) -> int | None:
    """Return the least number of prompts with which an effect is found with the power wanted.

    Args:
        effect_size: d_z, the mean difference in standard deviations; infinite needs 2.
        alpha: level of the test, in (0, 1).
        wanted: power, in (alpha, 1).

    Returns:
        At least 2; None where a million would not do.
    """
    if math.isinf(effect_size):
        return 2
    choices = range(2, MOST_PROMPTS + 1)
    place = bisect.bisect_left(choices, True, key=lambda prompts: power(effect_size, prompts, alpha) >= wanted)
    return choices[place] if place < len(choices) else None
