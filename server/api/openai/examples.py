"""Examples of OpenAI's routes for the documentation; tests send the bodies and hold the answers to their schemas."""

import json
from typing import Any

from server.api.examples import GENERATE_ANSWER
from server.api.sampling import resolve_sampling
from server.api.schemas.openai import ChatRequest, CompletionRequest

_HEAD = {"created": 1795516800, "model": "smollm2", "system_fingerprint": "kelvin-0.1.0-torch-cpu-bfloat16"}


def _sampling(fields: Any) -> dict[str, Any]:
    settled = resolve_sampling(fields, vocab_size=49152, max_timeout_s=600.0)
    return GENERATE_ANSWER["sampling"] | {"resolved": settled.resolved, "sources": settled.sources}


def _chunks(answer: dict[str, Any], kind: str, *choices: dict[str, Any]) -> str:
    chunks = [
        {"id": answer["id"], "object": kind, **_HEAD, "choices": [{"index": 0, "logprobs": None, **choice}]}
        for choice in choices
    ]
    chunks[-1]["sampling"] = answer["sampling"]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


COMPLETION: dict[str, Any] = {
    "prompt": "The lighthouse keeper",
    "max_tokens": 3,
    "temperature": 0.8,
    "min_p": 0.05,
    "seed": 7,
}
COMPLETION_ANSWER: dict[str, Any] = {
    "id": "cmpl-2f0b7c1de98a4f0561d3a7bc",
    "object": "text_completion",
    **_HEAD,
    "choices": [{"index": 0, "text": ", a seasoned", "logprobs": None, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
    "sampling": _sampling(CompletionRequest(**COMPLETION).sampling()),
}
COMPLETION_EVENTS = _chunks(
    COMPLETION_ANSWER,
    "text_completion",
    {"text": ",", "finish_reason": None},
    {"text": " a", "finish_reason": None},
    {"text": " seasoned", "finish_reason": "length"},
)
CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Name a colour."}],
    "max_completion_tokens": 32,
    "temperature": 0,
}
_TURN = "The colour is a rare and precious one, one that only exists in a few galaxies."
CHAT_ANSWER: dict[str, Any] = {
    "id": "chatcmpl-8c4d02e6b1f9437a5d20c7ee",
    "object": "chat.completion",
    **_HEAD,
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "The colour is a rare and precious one, one that only exists in a few galaxies.",
                "refusal": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 34, "completion_tokens": 19, "total_tokens": 53},
    "sampling": _sampling(ChatRequest(**CHAT).chat_sampling(2014)),
}
CHAT_EVENTS = _chunks(
    CHAT_ANSWER,
    "chat.completion.chunk",
    {"delta": {"role": "assistant", "content": "The"}, "finish_reason": None},
    {"delta": {"content": " colour"}, "finish_reason": None},
    {"delta": {"content": ""}, "finish_reason": "stop"},
)
MODEL: dict[str, Any] = {
    "id": "smollm2",
    "object": "model",
    "created": 1795516800,
    "owned_by": "kelvin",
    "framework": "torch",
    "device": "cpu",
    "dtype": "bfloat16",
    "quantization": "none",
    "max_length": 2048,
    "chat": True,
}
MODEL_DELETED: dict[str, Any] = {"id": "ft:smollm2:letters:8e35f0a1", "object": "model", "deleted": True}
MODEL_LIST: dict[str, Any] = {"object": "list", "data": [MODEL]}
