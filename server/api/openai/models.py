"""/v1/models: which models and classifiers are served, in OpenAI's shape."""

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.api.documented import answer, failures
from server.api.finetuning import finetuning
from server.api.openai import examples
from server.api.schemas.openai_answers import ModelAnswer, ModelDeletedAnswer, ModelList
from server.api.served import find_model, require_phase
from server.errors import NotFoundError
from server.finetuning.jobs.service import Finetuning
from server.finetuning.serving.classifiers import PREFIX, Classifiers
from server.jobs.errors import JobStateError
from server.loaded import LoadedModel

router = APIRouter()


@router.get("/v1/models", responses=answer(ModelList, examples.MODEL_LIST) | failures(503))
async def list_models(request: Request) -> Response:
    """List the models that are served, the first one answering where a request names none, and the classifiers."""
    state = request.app.state
    require_phase(state)
    data = [describe_model(model) for model in state.models.values()]
    if isinstance(state.finetuning, Finetuning):  # else there are none that could answer
        data += await asyncio.to_thread(_describe_classifiers, state.finetuning.classifiers)
    return JSONResponse({"object": "list", "data": data})


@router.get("/v1/models/{model_id:path}", responses=answer(ModelAnswer, examples.MODEL) | failures(404, 503))
async def show_model(request: Request, model_id: str) -> Response:
    """Show one of the models that are served, or a classifier."""
    if model_id.startswith(PREFIX):
        classifiers = finetuning(request.app.state).classifiers
        return JSONResponse(await asyncio.to_thread(describe_classifier, model_id, classifiers))
    return JSONResponse(describe_model(find_model(request.app.state, model_id)))


@router.delete(
    "/v1/models/{model_id:path}",
    responses=answer(ModelDeletedAnswer, examples.MODEL_DELETED) | failures(404, 409, 503),
)
async def delete_model(request: Request, model_id: str) -> Response:
    """Delete a classifier; models that are served stay."""
    if model_id in request.app.state.models:
        raise JobStateError("this model is served, and can only be left out when the server starts")
    await asyncio.to_thread(finetuning(request.app.state).classifiers.delete, model_id)
    return JSONResponse({"id": model_id, "object": "model", "deleted": True})


def describe_classifier(name: str, classifiers: Classifiers) -> dict[str, Any]:
    """Describe a classifier; `POST /classify` asks it.

    Raises:
        NotFoundError: there is none of this name.
    """
    return {
        "id": name,
        "object": "model",
        "created": int(classifiers.published_at(name)),
        "owned_by": "kelvin",
        "task": "classification",
    }


def _describe_classifiers(classifiers: Classifiers) -> list[dict[str, Any]]:
    described = []
    for name in classifiers.names():
        with suppress(NotFoundError):  # deleted a moment ago
            described.append(describe_classifier(name, classifiers))
    return described


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
        "quantization": model.backend.quantization,
        "max_length": model.engine.backend.max_length,
        "chat": model.chat is not None,
    }
