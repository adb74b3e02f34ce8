"""GET /health/live, /health/ready and /version: for whoever runs the server."""

import platform
from importlib import metadata

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.api import examples
from server.api.documented import answer, failures
from server.api.schemas.answers import LiveAnswer, ReadyAnswer, VersionAnswer
from server.api.served import ENDED, SLOW_S, STUCK_S, Phase, require_phase, require_progress

router = APIRouter()


@router.get("/health/live", responses=answer(LiveAnswer, examples.LIVE_ANSWER) | failures(503, key=False))
async def live(request: Request) -> Response:
    """Say that the process works; a 503 means that only a restart helps."""
    state = request.app.state
    if state.phase in ENDED:
        require_phase(state)
    if state.phase is Phase.READY:
        require_progress(state, STUCK_S)
    return JSONResponse({"status": "live"})


@router.get("/health/ready", responses=answer(ReadyAnswer, examples.READY_ANSWER) | failures(503))
async def ready(request: Request) -> Response:
    """Say whether requests will be answered; a 503 while models load, while no step ends, or while the server stops."""
    state = request.app.state
    require_phase(state)
    require_progress(state, SLOW_S)
    return JSONResponse({"status": "ready", "models": list(state.models)})


@router.get("/version", responses=answer(VersionAnswer, examples.VERSION_ANSWER) | failures())
async def version() -> Response:
    """Name the versions of Kelvin, Python and the frameworks."""
    return JSONResponse(
        {
            "kelvin": installed_version("kelvin-server"),
            "python": platform.python_version(),
            "torch": installed_version("torch"),
            "tensorflow": installed_version("tensorflow") or installed_version("tensorflow-cpu"),
        }
    )


def installed_version(distribution: str) -> str | None:
    """Look up the version of an installed distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
