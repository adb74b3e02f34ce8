"""POST /v1/completions: continue texts, in OpenAI's shape."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.admission import require_room
from server.api.answering import Answering
from server.api.body import read_body
from server.api.completion import Delta
from server.api.documented import answer, failures, json_body
from server.api.openai import examples
from server.api.openai.answer import respond
from server.api.openai.logprobs import TextLogprobs
from server.api.prompts import encode_prompts
from server.api.schemas.openai import CompletionRequest
from server.api.schemas.openai_answers import CompletionAnswer
from server.api.served import find_model

router = APIRouter()


@router.post(
    "/v1/completions",
    responses=answer(CompletionAnswer, examples.COMPLETION_ANSWER, events=examples.COMPLETION_EVENTS)
    | failures(400, 404, 408, 413, 415, 429, 500, 503),
    openapi_extra=json_body(CompletionRequest, examples.COMPLETION),
)
async def complete(request: Request) -> Response:
    """Continue a text, or several; OpenAI's request and answer, with Kelvin's sampling."""
    body = await read_body(request, CompletionRequest)
    model = find_model(request.app.state, body.model)
    require_room(model, body.prompt, n=body.n, max_tokens=body.max_tokens)
    prompts = await encode_prompts(model.tokenizer, body.prompt, special_tokens=body.special_tokens)
    answering = Answering(request, model, prompts, body.sampling(), prefix="cmpl")
    return await respond(request, body, answering, _Texts(body, answering))


class _Texts:
    """Choices that are texts, after their prompts where these are to be echoed."""

    whole_name = chunk_name = "text_completion"

    def __init__(self, body: CompletionRequest, answering: Answering) -> None:
        self._generation = answering.generation
        self._tokenizer = answering.generation.model.tokenizer
        self._prompt = body.prompt
        self._unechoed = set(range(self._generation.num_samples)) if body.echo else set()
        self._logprobs = None if body.logprobs is None else TextLogprobs(self._tokenizer)

    def whole(self, index: int, sample: Delta) -> dict[str, Any]:
        return self.chunk(index, sample)

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        logprobs = None if self._logprobs is None else self._logprobs.describe(index, delta)
        return {"text": self._echo(index) + delta.text, "logprobs": logprobs}

    def _echo(self, index: int) -> str:
        """Return the prompt before the first text of a sample, and nothing before the others."""
        if index not in self._unechoed:
            return ""
        self._unechoed.remove(index)
        place = index // self._generation.n
        given = self._prompt if isinstance(self._prompt, str) else self._prompt[place]
        return given if isinstance(given, str) else self._tokenizer.decode(self._generation.prompts[place])
