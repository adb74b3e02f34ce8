"""Settling: from what a request asks for to a plan that leaves nothing open, or a refusal that names the field."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeVar

from server.api.schemas.finetuning import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    FinetuneRequest,
    HyperparametersRequest,
    TemperatureRequest,
)
from server.errors import InvalidRequestError, NotFoundError
from server.finetuning.plan import (
    NUMERIC_METHODS,
    CalibrationPlan,
    Hyperparameters,
    Method,
    Plan,
    SearchPlan,
    TemperaturePlan,
    WandbPlan,
)
from server.finetuning.search.search_space import require_searchable

STEP_LEVELS = 4
ANNEALED = (2.0, 0.5)
MAX_LENGTH = 256
_WHOLE_MODELS = ("lora", "full")

_Value = TypeVar("_Value")
Folders = Mapping[str, Callable[[], Path]]
"""Of each served model by name: how to find its folder."""


@dataclass(frozen=True, slots=True)
class _Defaults:
    n_epochs: int
    batch_size: int
    learning_rate: float
    warmup: float = 0.0
    decay: Literal["none", "linear", "cosine"] = "none"
    weight_decay: float = 0.0


_DEFAULTS: dict[Method, _Defaults] = {
    "linear_probe": _Defaults(30, 32, 3e-3, decay="linear", weight_decay=2.0),
    "lora": _Defaults(4, 16, 2e-3, warmup=0.06, decay="linear"),
    "full": _Defaults(3, 16, 5e-5, warmup=0.06, decay="linear", weight_decay=0.01),
    "dan": _Defaults(10, 32, 4e-3, warmup=0.05, decay="cosine", weight_decay=0.01),
    "mlp": _Defaults(30, 32, 1e-3),
    "cnn": _Defaults(15, 32, 1e-3),
}


def plan_of(request: FinetuneRequest, folders: Folders, *, framework: Literal["torch", "tensorflow"]) -> Plan:
    """Settle what a request left open, once what it asks for can be done.

    Args:
        request: of a fine-tune.
        folders: of the served models; the first one is that of a request that names none.
        framework: where the request names none.

    Raises:
        NotFoundError: no such model is served.
        InvalidRequestError: fields that do not go together, or a framework that is not installed.
    """
    name = next(iter(folders)) if request.model is None else request.model
    if name not in folders:
        raise NotFoundError(f"no model of this name is served; served: {', '.join(folders)}", param="model")
    chosen = request.framework or framework
    if find_spec(chosen) is None:
        raise InvalidRequestError(
            f"{chosen} is not installed here; choose the other framework, or pip install 'kelvin-server[{chosen}]'",
            param="framework",
        )
    given = request.hyperparameters
    if request.method is not None:
        given = request.method.supervised.hyperparameters
    hyperparameters = _hyperparameters(given or HyperparametersRequest(), request.method_name)
    if hyperparameters.cross_fitted and request.calibration.method == "none":
        raise InvalidRequestError(
            "cross_fitted leaves rows out to fit a temperature to them; choose calibration.method temperature, or "
            "leave it out",
            param="hyperparameters",
        )
    numeric = request.method_name in NUMERIC_METHODS
    plan = Plan(
        model=name,
        model_dir="" if numeric else str(folders[name]()),  # numbers need no model
        method=request.method_name,
        framework=chosen,
        training_file=request.training_file,
        validation_file=request.validation_file,
        test_file=request.test_file,
        suffix=request.suffix,
        seed=request.seed or 0,
        hyperparameters=hyperparameters,
        temperature=_temperature(request.temperature),
        calibration=CalibrationPlan(**request.calibration.model_dump()),
        serving_temperature=_served(request),
        search=_search(request),
        wandb=_wandb(request),
    )
    if plan.search is not None:
        require_searchable(plan)
    return plan


def _hyperparameters(given: HyperparametersRequest, method: Method) -> Hyperparameters:
    own = _DEFAULTS[method]
    batch_size = _first(given.batch_size, own.batch_size)
    accumulate = _first(given.accumulate, 1)
    if accumulate > batch_size:
        raise InvalidRequestError(
            f"accumulate must not be above batch_size, which is {batch_size}: a piece has a row at least",
            param="hyperparameters",
        )
    if given.ensemble > 1 and method in _WHOLE_MODELS:
        raise InvalidRequestError(
            f"ensemble must be 1 for {method}: each network would be a model of its own; choose another method_name",
            param="hyperparameters",
        )
    if given.cross_fitted and given.ensemble == 1:
        raise InvalidRequestError(
            "cross_fitted needs an ensemble of at least 2: a single network has seen every row; raise ensemble",
            param="hyperparameters",
        )
    return Hyperparameters(
        n_epochs=_first(given.n_epochs, own.n_epochs),
        batch_size=batch_size,
        accumulate=accumulate,
        learning_rate=_first(given.learning_rate, own.learning_rate * _first(given.learning_rate_multiplier, 1.0)),
        warmup=_first(given.warmup, own.warmup),
        decay=_first(given.decay, own.decay),
        label_smoothing=given.label_smoothing,
        class_weight=given.class_weight,
        weight_decay=_first(given.weight_decay, own.weight_decay),
        max_grad_norm=given.max_grad_norm,
        early_stopping_patience=given.early_stopping_patience,
        best_by=given.best_by,
        max_length=_first(given.max_length, MAX_LENGTH),
        ensemble=given.ensemble,
        cross_fitted=given.cross_fitted,
    )


def _temperature(given: TemperatureRequest) -> TemperaturePlan:
    if given.steps is not None and given.schedule != "step":
        raise _wrong("temperature.steps belongs to the schedule step; leave it out")
    if (given.points is None) == (given.schedule == "piecewise"):
        raise _wrong("temperature.points belongs to the schedule piecewise, and that needs it")
    points = _points(given)
    if points:
        start, end = points[0][1], points[-1][1]
    elif given.schedule == "constant":
        start = end = _first(given.start, 1.0)
        if given.end not in (None, start):
            raise _wrong("temperature.end must be the start where the schedule is constant; choose another schedule")
    else:
        start, end = _first(given.start, ANNEALED[0]), _first(given.end, ANNEALED[1])
    return TemperaturePlan(
        schedule=given.schedule,
        start=start,
        end=end,
        steps=_first(given.steps, STEP_LEVELS),
        points=points,
        per=given.per,
        lr_coupling=given.lr_coupling,
    )


def _points(given: TemperatureRequest) -> tuple[tuple[float, float], ...]:
    if given.points is None:
        return ()
    if given.start is not None or given.end is not None:
        raise _wrong("temperature.start and temperature.end do not go with points, which have their own")
    points = tuple((share, temperature) for share, temperature in given.points)
    shares = [share for share, _ in points]
    if shares != sorted(shares) or not all(0 <= share <= 1 for share in shares):
        raise _wrong("temperature.points must be in order of their shares of training, each from 0 to 1")
    if not all(MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE for _, temperature in points):
        raise _wrong(f"temperature.points must have temperatures from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}")
    return points


def _served(request: FinetuneRequest) -> Literal["fitted", "final"] | float:
    fits = request.calibration.method == "temperature"
    if request.serving_temperature is None:
        return "fitted" if fits else "final"
    if request.serving_temperature == "fitted" and not fits:
        raise InvalidRequestError(
            "serving_temperature must not be fitted where calibration.method is none; choose final or a number",
            param="serving_temperature",
        )
    return request.serving_temperature


def _search(request: FinetuneRequest) -> SearchPlan | None:
    given = request.search
    if given is None:
        return None
    if given.low >= given.high:
        raise InvalidRequestError("search.low must be below search.high", param="search")
    if find_spec("optuna") is None:
        raise InvalidRequestError("search needs optuna: pip install 'kelvin-server[finetune]'", param="search")
    return SearchPlan(**(given.model_dump() | {"also": tuple(dict.fromkeys(given.also))}))


def _wandb(request: FinetuneRequest) -> WandbPlan | None:
    if not request.integrations:
        return None
    if find_spec("wandb") is None:
        raise InvalidRequestError("this needs wandb: pip install 'kelvin-server[wandb]'", param="integrations")
    given = request.integrations[0].wandb
    return WandbPlan(project=given.project, name=given.name, entity=given.entity, tags=tuple(given.tags or ()))


def _first(given: _Value | None, default: _Value) -> _Value:
    return default if given is None else given


def _wrong(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, param="temperature")
