"""Which models are served, and whether the server can answer at all."""

import time
from enum import StrEnum

from starlette.datastructures import State

from server.errors import NotFoundError, UnavailableError
from server.loaded import LoadedModel

SLOW_S = 30.0  # without a step, and requests go elsewhere
STUCK_S = 120.0  # without a step, and only a restart helps


class Phase(StrEnum):
    """Where in its life the server is."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"
    BROKEN = "broken"


ENDED = (Phase.FAILED, Phase.BROKEN)  # for good: only a restart helps

_REASONS = {
    Phase.LOADING: "the models are still loading; try again in a moment",
    Phase.FAILED: "a model could not be loaded, so the server cannot answer; its log says why",
    Phase.DRAINING: "the server is stopping; send the request to another one",
    Phase.BROKEN: "an engine has died, and the server ends to be started again; its log says why",
}


def find_model(state: State, name: str | None) -> LoadedModel:
    """Return the model that a request names.

    Args:
        state: the application's.
        name: as the request gives it; None is the first model.

    Raises:
        UnavailableError: the server is loading, stopping, or has failed.
        NotFoundError: no such model is served.
    """
    require_phase(state)
    models: dict[str, LoadedModel] = state.models
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise NotFoundError(f"no model of this name is served; served: {', '.join(models)}", param="model")
    return models[name]


def require_phase(state: State) -> None:
    """Raise UnavailableError unless the models are loaded and the server is not stopping."""
    if state.phase is not Phase.READY:
        raise UnavailableError(_REASONS[state.phase])


def require_progress(state: State, within_s: float) -> None:
    """Raise UnavailableError if an engine has died, or holds samples and has not begun a step for so many seconds."""
    for model in state.models.values():
        engine = model.engine
        if not engine.alive:
            raise UnavailableError(f"the engine of {model.name} has stopped; restart the server")
        if engine.num_running and time.monotonic() - engine.last_step_s > within_s:
            raise UnavailableError(f"the engine of {model.name} makes no progress; restart the server")
