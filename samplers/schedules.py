"""Schedules: the temperature of the loss over the course of training.

A schedule is a function of the share of training, in [0, 1], that gives `start` at 0 and `end` at 1, exactly, and stays
between them, never turning back. Whether the share moves with every epoch or every step is the caller's: `share_of`
counts either. Logits that were trained at the temperature `end` are served as they are: an anneal from 2 to 0.5 makes
the served probabilities of the same weights 4 times as sharp.
"""

import bisect
import math
from collections.abc import Callable, Sequence

Points = Sequence[tuple[float, float]]
_ROUNDING = 1e-9  # a share such as 2/3 may lie this far below a level's beginning


def share_of(place: int, count: int) -> float:
    """Return the share of training at the beginning of an epoch or step: 0 for the first one, 1 for the last.

    Args:
        place: of the epoch or step, from 0 to count - 1.
        count: of epochs or steps, ≥ 1; a single one is the first and not the last.

    Raises:
        ValueError: there is no such place.
    """
    if not 0 <= place < count:
        raise ValueError(f"place {place} of {count}: give one from 0 to {count - 1}")
    return place / (count - 1) if count > 1 else 0.0


def constant(share: float, start: float) -> float:
    """Return the same temperature throughout."""
    return _between(share, start, start, 0.0)


def linear(share: float, start: float, end: float) -> float:
    """Return (1 - s)·start + s·end."""
    return _between(share, start, end, share)


def cosine(share: float, start: float, end: float) -> float:
    """Return end + (start - end)·(1 + cos(πs))/2: slow at both ends."""
    return _between(share, start, end, (1 - math.cos(math.pi * share)) / 2)


def exponential(share: float, start: float, end: float) -> float:
    """Return start^(1-s)·end^s: each step changes the temperature by the same factor."""
    _check(share, start, end)
    return _within(start ** (1 - share) * end**share, start, end)


def step(share: float, start: float, end: float, steps: int) -> float:
    """Return one of so many levels, evenly spaced from start to end, each for an equal share of training.

    Args:
        share: in [0, 1].
        start: the first level, > 0.
        end: the last one, > 0.
        steps: number of levels, ≥ 2; level i, from 0, begins at i/steps.

    Raises:
        ValueError: one of them is not as said.
    """
    if steps < 2:
        raise ValueError(f"{steps} steps are no schedule: give at least 2, or the constant one")
    level = min(math.floor(share * steps + _ROUNDING), steps - 1)
    return _between(share, start, end, level / (steps - 1))


def piecewise(share: float, points: Points) -> float:
    """Return the temperature on the straight line between the two nearest points.

    Args:
        share: in [0, 1].
        points: pairs of share and temperature, > 0, at least one, by share; before the first and after the last one
            the temperature stays. Where two have the same share, the temperature jumps to the later one.

    Raises:
        ValueError: one of them is not as said.
    """
    shares = [place for place, _ in points]
    if not points or shares != sorted(shares) or not all(0 <= place <= 1 for place in shares):
        raise ValueError("points are pairs of share and temperature: give at least one, by share, each in [0, 1]")
    _check(share, *(temperature for _, temperature in points))
    after = bisect.bisect_right(shares, share)
    if after in (0, len(points)):
        return points[max(after - 1, 0)][1]
    (low, start), (high, end) = points[after - 1], points[after]
    return linear((share - low) / (high - low), start, end)


def temperature_at(
    schedule: str, share: float, *, start: float, end: float, steps: int = 2, points: Points = ()
) -> float:
    """Return the temperature of a schedule by its name.

    Args:
        schedule: constant, linear, cosine, exponential, step or piecewise.
        share: of training, in [0, 1].
        start: temperature at share 0, > 0; `piecewise` has its own.
        end: at share 1, > 0; `constant` and `piecewise` do not look at it.
        steps: levels of `step`, ≥ 2.
        points: of `piecewise`.

    Raises:
        ValueError: one of them is not as said.
    """
    known: dict[str, Callable[[], float]] = {
        "constant": lambda: constant(share, start),
        "linear": lambda: linear(share, start, end),
        "cosine": lambda: cosine(share, start, end),
        "exponential": lambda: exponential(share, start, end),
        "step": lambda: step(share, start, end, steps),
        "piecewise": lambda: piecewise(share, points),
    }
    if schedule not in known:
        raise ValueError(f"there is no such schedule: give one of {', '.join(known)}")
    return known[schedule]()


def _between(share: float, start: float, end: float, weight: float) -> float:
    _check(share, start, end)
    return _within((1 - weight) * start + weight * end, start, end)


def _within(value: float, start: float, end: float) -> float:
    """Take off what rounding put outside the ends."""
    return min(max(value, min(start, end)), max(start, end))


def _check(share: float, *temperatures: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"a share of training of {share}: give one in [0, 1]")
    if not all(math.isfinite(temperature) and temperature > 0 for temperature in temperatures):
        raise ValueError(f"temperatures {temperatures}: give finite ones above 0")
