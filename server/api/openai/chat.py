"""POST /v1/chat/completions: continue a conversation, in OpenAI's shape, through the model's own template."""

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
from server.api.openai.logprobs import describe_chat_logprobs
from server.api.prompts import encode_chat
from server.api.schemas.openai import ChatRequest
from server.api.schemas.openai_answers import ChatAnswer
from server.api.served import find_model

router = APIRouter()


@router.post(
    "/v1/chat/completions",
    responses=answer(ChatAnswer, examples.CHAT_ANSWER, events=examples.CHAT_EVENTS)
    | failures(400, 404, 408, 413, 415, 429, 500, 503),
    openapi_extra=json_body(ChatRequest, examples.CHAT),
)
async def chat(request: Request) -> Response:
    """Answer in a conversation; OpenAI's request and answer, with Kelvin's sampling."""
    body = await read_body(request, ChatRequest)
    model = find_model(request.app.state, body.model)
    turns, longest = body.turns(), model.engine.backend.max_length
    most = body.max_completion_tokens or body.max_tokens or longest - 1  # where none is given it takes what is left
    require_room(model, "".join(turn["content"] for turn in turns), n=body.n, max_tokens=most)
    prompt = await encode_chat(model, turns)
    fields = body.chat_sampling(longest - len(prompt))
    answering = Answering(request, model, [prompt], fields, prefix="chatcmpl")
    return await respond(request, body, answering, _Turns(body, answering))


class _Turns:
    """Choices that are the assistant's turns."""

    whole_name = "chat.completion"
    chunk_name = "chat.completion.chunk"

    def __init__(self, body: ChatRequest, answering: Answering) -> None:
        self._tokenizer = answering.generation.model.tokenizer
        self._with_logprobs = body.logprobs
        self._begun: set[int] = set()

    def whole(self, index: int, sample: Delta) -> dict[str, Any]:
        message = {"role": "assistant", "content": sample.text, "refusal": None}
        return {"message": message, "logprobs": self._logprobs(sample)}

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        added = {"content": delta.text}
        if index not in self._begun:
            self._begun.add(index)
            added = {"role": "assistant", **added}
        return {"delta": added, "logprobs": self._logprobs(delta)}

    def _logprobs(self, delta: Delta) -> dict[str, Any] | None:
        return describe_chat_logprobs(self._tokenizer, delta) if self._with_logprobs else None
