"""Which models are served, and whether the server can answer at all."""

import time
from enum import StrEnum

from starlette.datastructures import State

from server.errors import NotFoundError, UnavailableError
from server.loaded import LoadedModel

STUCK_S = 120.0


class Phase(StrEnum):
    """Where in its life the server is."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"


_REASONS = {
    Phase.LOADING: "the models are still loading; try again in a moment",
    Phase.FAILED: "a model could not be loaded, so the server cannot answer; its log says why",
    Phase.DRAINING: "the server is stopping; send the request to another one",
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


def require_progress(state: State) -> None:
    """Raise UnavailableError if an engine has died, or holds samples and has not stepped for STUCK_S seconds."""
    for model in state.models.values():
        engine = model.engine
        if not engine.alive:
            raise UnavailableError(f"the engine of {model.name} has stopped; restart the server")
        if engine.num_running and time.monotonic() - engine.last_step_s > STUCK_S:
            raise UnavailableError(f"the engine of {model.name} makes no progress; restart the server")
