"""GET /v1/models and /v1/models/{model_id}: which models are served, in OpenAI's shape."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.api.documented import answer, failures
from server.api.openai import examples
from server.api.schemas.openai_answers import ModelAnswer, ModelList
from server.api.served import find_model, require_phase
from server.loaded import LoadedModel

router = APIRouter()


@router.get("/v1/models", responses=answer(ModelList, examples.MODEL_LIST) | failures(503))
async def list_models(request: Request) -> Response:
    """List the models that are served; the first one answers where a request names none."""
    require_phase(request.app.state)
    models = request.app.state.models.values()
    return JSONResponse({"object": "list", "data": [describe_model(model) for model in models]})


@router.get("/v1/models/{model_id:path}", responses=answer(ModelAnswer, examples.MODEL) | failures(404, 503))
async def show_model(request: Request, model_id: str) -> Response:
    """Show one of the models that are served."""
    return JSONResponse(describe_model(find_model(request.app.state, model_id)))


def describe_model(model: LoadedModel) -> dict[str, Any]:
    """Describe a model: OpenAI's fields, and where it runs."""
    return {
        "id": model.name,
        "object": "model",
        "created": int(model.loaded_at),
        "owned_by": "kelvin",
        "framework": model.framework,
        "device": model.device,
        "dtype": model.dtype,
        "max_length": model.engine.backend.max_length,
        "chat": model.chat is not None,
    }
