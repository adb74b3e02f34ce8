"""Search space: which settings a search may choose, its control at temperature 1, and the plan that a choice makes."""

import itertools
import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from server.errors import InvalidRequestError
from server.finetuning.outcome import Search
from server.finetuning.plan import Plan, ScheduleName, SearchPlan

if TYPE_CHECKING:
    from optuna import Trial

Parameters = dict[str, Any]

SCHEDULES: tuple[ScheduleName, ...] = ("constant", "linear", "cosine", "exponential")
RATES = 10.0  # times as low and as high as the plan's learning rate are tried


def require_searchable(plan: Plan) -> None:
    """See that a search makes sense.

    Args:
        plan: with a search.

    Raises:
        InvalidRequestError: it has no room for the control at temperature 1, chooses the end of a schedule that has
            none, has too few trials for a grid, or a
            Gaussian process without PyTorch.
    """
    asked = _search(plan)
    if not asked.low <= 1 <= asked.high:
        raise InvalidRequestError(
            f"search.low {asked.low:g} and search.high {asked.high:g} leave out 1, the control that every search is "
            "judged by; widen the range",
            param="search.low" if asked.low > 1 else "search.high",
        )
    if "end" in asked.also and "schedule" not in asked.also and plan.temperature.schedule in ("constant", "piecewise"):
        raise InvalidRequestError(
            f"search.also names end, which a {plan.temperature.schedule} schedule does not have; name schedule too, or "
            "give temperature.schedule another one",
            param="search.also",
        )
    if asked.algorithm == "gp" and find_spec("torch") is None:
        raise InvalidRequestError(
            'search.algorithm "gp" needs PyTorch: pip install \'kelvin-server[torch]\', or use "tpe"',
            param="search.algorithm",
        )
    if asked.algorithm == "grid" and asked.n_trials > 1 and not grid(plan):
        raise InvalidRequestError(
            f"a grid over the {len(SCHEDULES)} schedules needs at least {len(SCHEDULES) + 1} trials, not "
            f"{asked.n_trials}; raise search.n_trials",
            param="search.n_trials",
        )


def control(plan: Plan) -> Parameters:
    """Return the parameters of the first trial: temperature 1 throughout, at the plan's learning rate."""
    own = {"end": 1.0, "schedule": "constant", "learning_rate": plan.hyperparameters.learning_rate}
    return {"temperature": 1.0} | {name: own[name] for name in _search(plan).also}


def suggest(trial: "Trial", plan: Plan) -> Parameters:
    """Let a trial choose.

    Args:
        trial: of Optuna.
        plan: with a search.
    """
    asked = _search(plan)
    chosen: Parameters = {
        name: trial.suggest_float(name, low, high, log=True) for name, (low, high) in _ranges(plan).items()
    }
    if "schedule" in asked.also:
        chosen["schedule"] = trial.suggest_categorical("schedule", SCHEDULES)
    return chosen


def grid(plan: Plan) -> list[Parameters]:
    """Return the points of a grid beside its control, at most one fewer than the trials.

    Every number has as many levels, evenly on the logarithmic scale, ends included.
    """
    asked, ranges = _search(plan), _ranges(plan)
    schedules = SCHEDULES if "schedule" in asked.also else (None,)
    levels = int((asked.n_trials - 1) / len(schedules) + 1e-9)
    if levels and len(ranges) > 1:
        levels = max(n for n in range(1, levels + 1) if n ** len(ranges) <= levels)
    axes = [_levels(low, high, levels) for low, high in ranges.values()]
    points = [dict(zip(ranges, values, strict=True)) for values in itertools.product(*axes)]
    return [point | ({"schedule": name} if name else {}) for point in points for name in schedules]


def _levels(low: float, high: float, count: int) -> list[float]:
    if count == 1:
        return [math.sqrt(low * high)]
    return [float(level) for level in np.clip(np.geomspace(low, high, count), low, high)]


def _ranges(plan: Plan) -> dict[str, tuple[float, float]]:
    asked, rate = _search(plan), plan.hyperparameters.learning_rate
    both = {"end": (asked.low, asked.high), "learning_rate": (rate / RATES, rate * RATES)}
    return {"temperature": (asked.low, asked.high)} | {name: both[name] for name in both if name in asked.also}


def settled(plan: Plan, parameters: Mapping[str, Any], *, is_control: bool = False) -> Plan:
    """Return the plan that a choice makes of a plan.

    A piecewise schedule keeps its shape and is moved so that it begins at the temperature chosen.

    Args:
        plan: with a search.
        parameters: that were chosen.
        is_control: whether they are those of the control, whose temperature is 1 whatever the plan's schedule.
    """
    own, start = plan.temperature, float(parameters["temperature"])
    schedule: ScheduleName = "constant" if is_control else parameters.get("schedule", own.schedule)
    change: dict[str, Any] = {"schedule": schedule, "start": start, "end": parameters.get("end", own.end)}
    if schedule == "constant":
        change["end"] = start
    if schedule == "piecewise":
        scale = start / own.points[0][1]
        points = tuple((share, scale * temperature) for share, temperature in own.points)
        change |= {"points": points, "end": points[-1][1]}
    rate = parameters.get("learning_rate", plan.hyperparameters.learning_rate)
    return plan.model_copy(
        update={
            "temperature": own.model_copy(update=change),
            "hyperparameters": plan.hyperparameters.model_copy(update={"learning_rate": rate}),
        }
    )


def trained_plan(plan: Plan, found: Search | None) -> Plan:
    """Return the plan that the classifier was trained by.

    Args:
        plan: as it was asked for.
        found: what its search found; None: there was none.
    """
    if found is None:
        return plan
    return settled(plan, found.trials[found.best].parameters, is_control=found.best == 0)


def told(parameters: Parameters) -> Parameters:
    """Leave out what has no effect: the end of a constant schedule."""
    return {
        name: value for name, value in parameters.items() if name != "end" or parameters.get("schedule") != "constant"
    }


def _search(plan: Plan) -> SearchPlan:
    assert plan.search is not None, "only plans with a search are searched"
    return plan.search
