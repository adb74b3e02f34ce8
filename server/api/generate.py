"""POST /generate: sample from a model, whole or as a stream of events."""

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.api import examples
from server.api.admission import require_room
from server.api.answering import Answering
from server.api.answers import describe_choice, describe_origin
from server.api.body import read_body
from server.api.completion import Delta
from server.api.disconnect import until_disconnect
from server.api.documented import answer, failures, json_body
from server.api.event_stream import EventStream
from server.api.prompts import encode_prompts
from server.api.schemas.answers import GenerateAnswer
from server.api.schemas.generate import GenerateRequest
from server.api.served import find_model

router = APIRouter()


@router.post(
    "/generate",
    responses=answer(GenerateAnswer, examples.GENERATE_ANSWER, events=examples.EVENTS)
    | failures(400, 404, 408, 413, 415, 429, 500, 503),
    openapi_extra=json_body(GenerateRequest, examples.GENERATE),
)
async def generate(request: Request) -> Response:
    """Sample continuations of a prompt, or of several; whole, or as server-sent events."""
    body = await read_body(request, GenerateRequest)
    model = find_model(request.app.state, body.model)
    require_room(model, body.prompt, n=body.n, max_tokens=body.max_tokens)
    prompts = await encode_prompts(model.tokenizer, body.prompt, special_tokens=body.special_tokens)
    answering = Answering(request, model, prompts, body, prefix="gen")
    origin = describe_origin(answering.id, answering.generation)

    def part(index: int, delta: Delta) -> dict[str, Any]:
        return {"id": answering.id, "choices": [describe_choice(index, delta, answering.generation)]}

    def rest() -> Iterator[dict[str, Any]]:
        yield origin | {"choices": []} | answering.outcome()

    if body.stream:
        return await EventStream.begin(request, answering.events(part, rest))
    samples = await until_disconnect(request.receive, answering.samples())
    choices = [describe_choice(index, sample, answering.generation) for index, sample in enumerate(samples)]
    return JSONResponse(origin | {"choices": choices} | answering.outcome())
