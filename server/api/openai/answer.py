"""An answer in OpenAI's shape, whole or in chunks; what differs between texts and conversations is its Form."""

import time
from collections.abc import Iterator
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.api.answering import Answering
from server.api.completion import Delta
from server.api.disconnect import until_disconnect
from server.api.event_stream import EventStream
from server.api.health import installed_version
from server.api.schemas.openai import OpenAIFields
from server.loaded import LoadedModel


class Form(Protocol):
    """Says what a choice looks like.

    Attributes:
        whole_name: `object` of a whole answer.
        chunk_name: `object` of a chunk.
    """

    whole_name: str
    chunk_name: str

    def whole(self, index: int, sample: Delta) -> dict[str, Any]:
        """Describe a sample, but for its `index` and `finish_reason`."""

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        """Describe what a step added to a sample, likewise; called in order."""


async def respond(request: Request, body: OpenAIFields, answering: Answering, form: Form) -> Response:
    """Draw the samples and answer.

    Args:
        request: whose body this is.
        body: says whether to stream.
        answering: not begun.
        form: of the choices.

    Raises:
        KelvinError: before the answer has begun.
    """
    model = answering.generation.model
    head = {
        "id": answering.id,
        "object": form.chunk_name if body.stream else form.whole_name,
        "created": int(time.time()),
        "model": model.name,
        "system_fingerprint": fingerprint(model),
    }
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        chunks = _Chunks(head, answering, form, with_usage=with_usage)
        return await EventStream.begin(request, answering.events(chunks.chunk, chunks.last))
    samples = await until_disconnect(request.receive, answering.samples())
    choices = [
        {"index": index, **form.whole(index, sample), "finish_reason": sample.finish_reason}
        for index, sample in enumerate(samples)
    ]
    outcome = answering.outcome()
    return JSONResponse(head | {"choices": choices} | {name: outcome[name] for name in ("usage", "sampling")})


def fingerprint(model: LoadedModel) -> str:
    """Name what a seeded answer depends on besides its request: version, framework, device, kind of numbers."""
    version = installed_version("kelvin-server") or "source"
    parts = ["kelvin", version, model.framework, model.device.replace(":", ""), model.dtype]
    quantization = model.backend.quantization
    return "-".join(parts if quantization == "none" else [*parts, quantization])


class _Chunks:
    """The chunks of a stream: the one that ends the last sample says how all were drawn."""

    def __init__(self, head: dict[str, Any], answering: Answering, form: Form, *, with_usage: bool) -> None:
        self._head = head | ({"usage": None} if with_usage else {})
        self._answering = answering
        self._form = form
        self._with_usage = with_usage
        self._outcome: dict[str, Any] = {}

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        choice = {"index": index, **self._form.chunk(index, delta), "finish_reason": delta.finish_reason}
        chunk = self._head | {"choices": [choice]}
        if self._answering.over:
            self._outcome = self._answering.outcome()
            chunk["sampling"] = self._outcome["sampling"]
        return chunk

    def last(self) -> Iterator[dict[str, Any]]:
        if self._with_usage:
            yield self._head | {"choices": [], "usage": self._outcome["usage"]}
