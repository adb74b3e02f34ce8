"""Answering: one request's samples on their way, whole or as events, and what the log will say of them."""

import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request

from server.api.answers import describe_outcome, join
from server.api.bad_words import encode_bad_words
from server.api.completion import Delta, Stopping
from server.api.event_stream import DONE, as_event
from server.api.failures import describe_failure
from server.api.generation import Generation
from server.api.sampling import resolve_sampling
from server.api.schemas.sampling import SamplingFields
from server.loaded import LoadedModel
from server.metrics import Metrics

log = logging.getLogger(__name__)


class Answering:
    """One answer; either `samples` or `events` draws it, once.

    Attributes:
        id: the answer's name.
        generation: what is generated.
        sampling: how, settled.
    """

    def __init__(
        self,
        request: Request,
        model: LoadedModel,
        prompts: Sequence[Sequence[int]],
        fields: SamplingFields,
        *,
        prefix: str,
    ) -> None:
        """Settle what is asked for; nothing is queued yet.

        Args:
            request: whose log line this fills.
            model: answers.
            prompts: token ids, at least one prompt.
            fields: the request's sampling fields.
            prefix: what the answer's name begins with.

        Raises:
            InvalidRequestError: a value is out of its range, or a token id is none of the model's.
        """
        vocab_size, settings = model.engine.backend.vocab_size, request.app.state.settings
        bad_words = encode_bad_words(model.tokenizer, fields.bad_words)
        self.id = f"{prefix}-{secrets.token_hex(12)}"
        self.sampling = resolve_sampling(
            fields, vocab_size=vocab_size, max_timeout_s=settings.max_timeout_s, bad_words=bad_words
        )
        self.generation = Generation(
            model=model,
            prompts=prompts,
            params=self.sampling.params,
            n=fields.n,
            stopping=Stopping(tuple(fields.stop), fields.min_tokens, fields.include_stop),
            timeout_s=self.sampling.timeout_s,
            queue_timeout_s=settings.queue_timeout_s,
            owner=getattr(request.state, "owner", b""),  # without keys, all who reach the server are one
        )
        self._request_id: str = request.state.request_id
        self._facts: dict[str, Any] = request.state.facts
        self._metrics: Metrics = request.app.state.metrics
        self._started_s = time.perf_counter()
        self._num_tokens = 0
        self._lengths: Counter[int] = Counter()
        self._endings: Counter[str] = Counter()

    @property
    def over(self) -> bool:
        """Say whether every sample has ended."""
        return self._endings.total() == self.generation.num_samples

    async def samples(self) -> list[Delta]:
        """Draw every sample to its end.

        Raises:
            KelvinError: as `Generation.deltas`.
        """
        parts: list[list[Delta]] = [[] for _ in range(self.generation.num_samples)]
        async with aclosing(self._deltas()) as arriving:
            async for index, delta in arriving:
                parts[index].append(delta)
        return [join(deltas) for deltas in parts]

    async def events(
        self, describe: Callable[[int, Delta], dict[str, Any]], conclude: Callable[[], Iterable[dict[str, Any]]]
    ) -> AsyncGenerator[str, None]:
        """Draw the samples as server-sent events; a failure after the first one is an event too, and the last.

        Args:
            describe: a sample's index and what a step added to it → the event's value.
            conclude: gives the values that follow when all samples have ended.

        Raises:
            KelvinError: as `Generation.deltas`, before the first event.
        """
        begun = False
        try:
            async with aclosing(self._deltas()) as arriving:
                async for index, delta in arriving:
                    yield as_event(describe(index, delta))
                    begun = True
        except Exception as error:
            if not begun:
                raise  # it can still have a status code
            log.exception("request %s failed while it was streamed", self._request_id)
            yield as_event(describe_failure(error, self._request_id))
            return
        for value in conclude():
            yield as_event(value)
        yield DONE

    def outcome(self) -> dict[str, Any]:
        """Sum up: `usage`, `sampling` and `timings`; every sample has ended."""
        outcome = describe_outcome(self._num_tokens, self.generation, self.sampling)
        self._facts |= {"finish_reasons": dict(self._endings), **outcome["usage"], **outcome["timings"]}
        self._metrics.answered(
            self.generation.model.name,
            duration_s=time.perf_counter() - self._started_s,
            longest=max(self._lengths.values(), default=0),
            endings=self._endings,
            timings=outcome["timings"],
            sources=self.sampling.sources,
            greedy=self.sampling.params.greedy,
        )
        return outcome

    async def _deltas(self) -> AsyncGenerator[tuple[int, Delta], None]:
        self._facts |= {"model": self.generation.model.name, "samples": self.generation.num_samples}
        async with aclosing(self.generation.deltas()) as deltas:
            async for index, delta in deltas:
                if not self._num_tokens and delta.token_ids:
                    after_s = time.perf_counter() - self._started_s
                    self._facts["first_token_s"] = round(after_s, 6)
                    self._metrics.first_token(self.generation.model.name, after_s)
                self._num_tokens += len(delta.token_ids)
                self._lengths[index] += len(delta.token_ids)
                if delta.finish_reason is not None:
                    self._endings[delta.finish_reason] += 1
                yield index, delta
