"""POST /generate: sample from a model, whole or as a stream of events."""

import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.api import examples
from server.api.answers import describe_choice, describe_origin, describe_outcome, join
from server.api.bad_words import encode_bad_words
from server.api.body import read_body
from server.api.completion import Delta, Stopping
from server.api.disconnect import until_disconnect
from server.api.documented import answer, failures, json_body
from server.api.event_stream import DONE, EventStream, as_event
from server.api.failures import describe_failure
from server.api.generation import Generation
from server.api.prompts import encode_prompts
from server.api.sampling import Sampling, resolve_sampling
from server.api.schemas.answers import GenerateAnswer
from server.api.schemas.generate import GenerateRequest
from server.api.served import find_model

log = logging.getLogger(__name__)
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
    state = request.app.state
    model = find_model(state, body.model)
    vocab_size, limit_s = model.engine.backend.vocab_size, state.settings.max_timeout_s
    bad_words = encode_bad_words(model.tokenizer, body.bad_words)
    sampling = resolve_sampling(body, vocab_size=vocab_size, max_timeout_s=limit_s, bad_words=bad_words)
    generation = Generation(
        model=model,
        prompts=await encode_prompts(model.tokenizer, body.prompt, special_tokens=body.special_tokens),
        params=sampling.params,
        n=body.n,
        stopping=Stopping(tuple(body.stop), body.min_tokens, body.include_stop),
        timeout_s=sampling.timeout_s,
    )
    answering = _Answering(generation, sampling, request)
    if body.stream:
        return await EventStream.begin(request, answering.events())
    return JSONResponse(await until_disconnect(request.receive, answering.whole()))


class _Answering:
    """One answer on its way, and what the log will say of it."""

    def __init__(self, generation: Generation, sampling: Sampling, request: Request) -> None:
        self._generation = generation
        self._sampling = sampling
        self._request_id: str = request.state.request_id
        self._facts: dict[str, Any] = request.state.facts
        self._origin = describe_origin(f"gen-{secrets.token_hex(12)}", generation)
        self._started_s = time.perf_counter()
        self._num_tokens = 0
        self._endings: Counter[str] = Counter()

    async def whole(self) -> dict[str, Any]:
        deltas: list[list[Delta]] = [[] for _ in range(self._generation.num_samples)]
        async with aclosing(self._deltas()) as arriving:
            async for index, delta in arriving:
                deltas[index].append(delta)
        choices = [describe_choice(index, join(parts), self._generation) for index, parts in enumerate(deltas)]
        return self._origin | {"choices": choices} | self._outcome()

    async def events(self) -> AsyncGenerator[str, None]:
        begun = False
        try:
            async with aclosing(self._deltas()) as arriving:
                async for index, delta in arriving:
                    choice = describe_choice(index, delta, self._generation)
                    yield as_event({"id": self._origin["id"], "choices": [choice]})
                    begun = True
        except Exception as error:
            if not begun:
                raise  # it can still have a status code
            log.exception("request %s failed while it was streamed", self._request_id)
            yield as_event(describe_failure(error, self._request_id))
            return
        yield as_event(self._origin | {"choices": []} | self._outcome())
        yield DONE

    async def _deltas(self) -> AsyncGenerator[tuple[int, Delta], None]:
        self._facts |= {"model": self._origin["model"], "samples": self._generation.num_samples}
        async with aclosing(self._generation.deltas()) as deltas:
            async for index, delta in deltas:
                if not self._num_tokens and delta.token_ids:
                    self._facts["first_token_s"] = round(time.perf_counter() - self._started_s, 6)
                self._num_tokens += len(delta.token_ids)
                if delta.finish_reason is not None:
                    self._endings[delta.finish_reason] += 1
                yield index, delta

    def _outcome(self) -> dict[str, Any]:
        outcome = describe_outcome(self._num_tokens, self._generation, self._sampling)
        self._facts |= {"finish_reasons": dict(self._endings), **outcome["usage"], **outcome["timings"]}
        return outcome
