"""What OpenAPI is told of routes that read and write their JSON themselves."""

from collections.abc import Iterable
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel

from server.api.failures import failure_body
from server.api.schemas.answers import FailureAnswer

Responses = dict[int | str, dict[str, Any]]

_FAILURE_SCHEMA = {"$ref": "#/components/schemas/FailureAnswer"}
_FAILURES: dict[int, tuple[str, str, str, str | None]] = {
    400: (
        "The body or a field is wrong; `param` names the field.",
        "top_p must be above 0; for the most probable token use temperature 0",
        "invalid_request",
        "top_p",
    ),
    401: (
        "The server asks for a key, and the request has none or a wrong one.",
        "this server asks for a key, and this is none of its keys; send one as Authorization: Bearer KEY",
        "unauthorized",
        None,
    ),
    403: (
        "A browser has sent this for a page of another site.",
        "a page of another site has sent this, and no other site may; use the server's own page, or no browser",
        "forbidden",
        None,
    ),
    409: (
        "The job's status does not allow it.",
        "the job is running; cancel it, and delete it when it has ended",
        "conflict",
        None,
    ),
    404: (
        "There is no such model, or no such job.",
        "no model of this name is served; served: smollm2",
        "not_found",
        "model",
    ),
    408: (
        "The body came too slowly.",
        "the body did not arrive within 30 seconds; send it faster",
        "request_timeout",
        None,
    ),
    413: (
        "The body is too large.",
        "the body has more than the 2097152 bytes that this server takes; send a shorter one",
        "body_too_large",
        None,
    ),
    415: (
        "The body is not plain, uncompressed JSON.",
        "the body must be JSON; send it with Content-Type: application/json",
        "unsupported_media_type",
        None,
    ),
    429: (
        "The queue is full; `Retry-After` says when to try again.",
        "256 samples wait already and 256 may; try again in a moment",
        "queue_full",
        None,
    ),
    500: (
        "The model failed on this request alone.",
        "the model's logits were not finite for this request; its numbers cannot be trusted",
        "numerical_error",
        None,
    ),
    503: (
        "The server is loading or stopping; `Retry-After` says when to try again.",
        "the models are still loading; try again in a moment",
        "unavailable",
        None,
    ),
}


def failures(*statuses: int, key: bool = True) -> Responses:
    """Document error responses.

    Args:
        statuses: each one of those above.
        key: whether the route may ask for a key, so that 401 is one of them.
    """
    statuses = (401, *statuses) if key else statuses
    return {status: _failure(status, *_FAILURES[status]) for status in statuses}


def answer(
    schema: type[BaseModel], example: dict[str, Any], *, events: str | None = None, status: int = 200
) -> Responses:
    """Document the response to a request that went well.

    Args:
        schema: of the JSON.
        example: a real one.
        events: a real event stream, where the route has one.
        status: of the response.
    """
    content: dict[str, Any] = {"application/json": {"example": example}}
    if events is not None:
        content |= _text("text/event-stream", events)
    return {status: {"model": schema, "description": "It went well.", "content": content}}


def file_answer(media_type: str, example: str) -> Responses:
    """Document a response that is no JSON.

    Args:
        media_type: of the response.
        example: a real one, or its beginning.
    """
    return {200: {"description": "It went well.", "content": _text(media_type, example)}}


def _text(media_type: str, example: str) -> dict[str, Any]:
    """Document a text; OpenAPI 3.1 has no words for a stream of events, each of which is an object."""
    schema = {} if media_type == "text/event-stream" else {"schema": {"type": "string"}}
    return {media_type: {**schema, "example": example}}


def json_body(schema: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Document a route's body, which FastAPI cannot know because the route reads it itself.

    Args:
        schema: of the body.
        example: a real one.
    """
    content = {"application/json": {"schema": _inlined(schema), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def form_body(example: str) -> dict[str, Any]:
    """Document the body of a route that takes a file.

    Args:
        example: a form as a client sends it.
    """
    schema = {
        "type": "object",
        "required": ["file", "purpose"],
        "properties": {
            "file": {"type": "string", "format": "binary", "description": "The file, with its name."},
            "purpose": {"type": "string", "enum": ["fine-tune"], "description": "What it may be used for."},
        },
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema, "example": example}}}
    }


def _inlined(schema: type[BaseModel]) -> dict[str, Any]:
    """Return a schema whose nested models stand where they are used, for their definitions would have no place."""
    whole = schema.model_json_schema()
    models = whole.pop("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, list):
            return [inline(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inline(
                models[value["$ref"].rpartition("/")[2]] | {key: value[key] for key in value if key != "$ref"}
            )
        return {key: inline(item) for key, item in value.items()}

    inlined: dict[str, Any] = inline(whole)
    return inlined


def complete(document: dict[str, Any], routes: Iterable[APIRoute]) -> dict[str, Any]:
    """Make FastAPI's document say what the server does, and return it.

    Every null comes back that FastAPI strips from defaults and examples; what it says of 422 goes, for a wrong value in
    a path or query is a 400 like any other; and what changes something may be refused to a browser.

    Args:
        document: made by FastAPI from these routes, and perhaps from others.
        routes: their own words are put over what is in the document.
    """
    foreign = _failure(403, *_FAILURES[403])
    content = {"application/json": {"schema": _FAILURE_SCHEMA, **foreign["content"]["application/json"]}}
    for route in routes:
        [method] = route.methods
        operation = document["paths"][route.path_format][method.lower()]
        operation.update(route.openapi_extra or {})
        responses = operation["responses"]
        responses.pop("422", None)
        if method != "GET":
            responses["403"] = {"description": foreign["description"], "content": content}
        operation["responses"] = dict(sorted(responses.items()))
        for status, response in route.responses.items():
            for media_type, own in response["content"].items():
                operation["responses"][str(status)]["content"][media_type]["example"] = own["example"]
    for schema in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(schema, None)
    return document


def _failure(status: int, description: str, message: str, code: str, param: str | None) -> dict[str, Any]:
    example = failure_body(status, message, code=code, param=param, request_id="req-5c1e9a0f3b7d4e2186a0c4f2")
    return {
        "model": FailureAnswer,
        "description": description,
        "content": {"application/json": {"example": example}},
    }
