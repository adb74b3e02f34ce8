"""Batch: continuous batching. Samples join and leave between steps, and each step draws for all that decode."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from server.backends.base import Backend, Decoded, PromptPiece
from server.engine.counts import Counts
from server.engine.request import FinishReason, Request, Sample
from server.engine.scheduler import Scheduler
from server.engine.stream import TokenEvent, TokenStream
from server.errors import KelvinError, NumericalError

log = logging.getLogger(__name__)


class Batch:
    """The samples that live, and what a step does with them; for one thread.

    Attributes:
        backend: runs the model.
        counts: what has been done so far.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        """Start with no samples.

        Args:
            backend: runs the model.
            clock: seconds, monotonic.
        """
        self.backend = backend
        self.counts = Counts()
        self._clock = clock
        self._scheduler = Scheduler(backend.num_slots)
        self._outbox: list[tuple[TokenStream, TokenEvent | KelvinError]] = []

    def __bool__(self) -> bool:
        return bool(self._scheduler)

    @property
    def num_waiting(self) -> int:
        """Count the samples that wait for a slot."""
        return len(self._scheduler.waiting)

    @property
    def num_running(self) -> int:
        """Count the samples that hold a slot."""
        return self._scheduler.num_placed

    def add(self, request: Request) -> None:
        """Queue every sample of a request."""
        self.counts.prompt_tokens += len(request.prompt)
        self._scheduler.add(request)

    def step(self) -> None:
        """Admit, prefill, decode: one round over all samples that live."""
        self._expire()
        self._admit()
        self._prefill()
        self._start_decoding()
        self._decode()
        self._flush()

    def finish(self, sample: Sample, reason: FinishReason) -> None:
        """End a sample that still lives, with what it has."""
        if sample.finish_reason is None:
            self._emit(sample, TokenEvent(sample.index, (), finish_reason=reason))
            self._retire(sample, reason)

    def attempt(self, samples: Iterable[Sample], action: Callable[[], object]) -> bool:
        """Do something for samples; if it raises, their requests fail and no others. Say whether it went well."""
        try:
            action()
        except Exception as error:
            log.exception("the backend failed")
            self._fail(samples, KelvinError(f"the model failed on this request: {type(error).__name__}"))
            return False
        return True

    def abandon(self, error: KelvinError) -> None:
        """Fail everybody without a word to the backend, which may be what has failed."""
        for request in {id(sample.request): sample.request for sample in self._scheduler.samples()}.values():
            self._outbox.append((request.stream, error))
        self._flush()

    def _expire(self) -> None:
        now = self._clock()
        for sample in self._scheduler.samples():
            deadline_s = sample.request.deadline_s
            if deadline_s is not None and now >= deadline_s:
                self.finish(sample, FinishReason.TIMEOUT)

    def _admit(self) -> None:
        now = self._clock()
        for sample in self._scheduler.admit():
            request = sample.request
            if request.admitted_s is None:
                request.admitted_s = now
                request.stream.timings.queue_s = now - request.submitted_s

    def _prefill(self) -> None:
        chunk = self._next_chunk()
        try:
            if chunk:
                self.backend.prefill([piece for _, piece in chunk])
        except Exception:
            log.exception("a prefill failed; each of its %d prompts is tried alone, so that it fails alone", len(chunk))
            chunk = [
                (sample, piece)
                for sample, piece in chunk
                if self.attempt([sample], lambda piece=piece: self.backend.prefill([piece]))  # type: ignore[misc]
            ]
        for sample, piece in chunk:
            self._scheduler.prefilled(sample, len(piece.token_ids))

    def _next_chunk(self) -> list[tuple[Sample, PromptPiece]]:
        chunk: list[tuple[Sample, PromptPiece]] = []
        budget = self.backend.prefill_chunk
        for sample in self._scheduler.prefilling():
            if not budget:
                break
            assert sample.slot is not None
            end = min(sample.num_prefilled + budget, sample.request.prompt.num_prefill)
            token_ids = sample.request.prompt.token_ids[sample.num_prefilled : end]
            chunk.append((sample, PromptPiece(sample.slot, token_ids, sample.num_prefilled)))
            budget -= len(token_ids)
        return chunk

    def _start_decoding(self) -> None:
        for sample in self._scheduler.ready():
            if sample.slot is not None:  # a sibling's failure may have ended it within this loop
                self.attempt([sample], lambda sample=sample: self._start(sample))  # type: ignore[misc]

    def _start(self, sample: Sample) -> None:
        request, slot = sample.request, sample.slot
        assert slot is not None
        if not sample.prefilled:
            source = self._scheduler.source(sample)
            assert source is not None
            self.backend.copy(source, slot, request.prompt.num_prefill)
            self._scheduler.prefilled(sample, request.prompt.num_prefill)
        if (
            self.backend.admit(slot, request.prompt.token_ids, request.params, request.first_sample + sample.index)
            == "noise"
        ):
            request.stream.reproducible = "noise"
        sample.decoding = True
        if request.started_s is None:
            request.started_s = self._clock()
            assert request.admitted_s is not None
            request.stream.timings.prefill_s = request.started_s - request.admitted_s
        if request.probe:
            self._emit(sample, TokenEvent(0, (), logits=self.backend.logits(slot), finish_reason="length"))
            self._retire(sample, FinishReason.LENGTH)

    def _decode(self) -> None:
        samples = self._scheduler.decoding()
        slots = [sample.slot for sample in samples if sample.slot is not None]
        steps: list[Decoded] = []
        if slots and self.attempt(samples, lambda: steps.extend(self.backend.decode_steps(slots, self._num_steps()))):
            self.counts.steps += len(steps)
            for step in steps:
                for row, sample in enumerate(samples):
                    self._record(sample, step, row)

    def _num_steps(self) -> int:
        """Return how many steps to draw in one call: one where anybody waits for what happens between steps."""
        waits = self._scheduler.waiting or self._scheduler.prefilling()
        return 1 if waits else self.backend.max_steps

    def _record(self, sample: Sample, decoded: Decoded, row: int) -> None:
        if sample.slot is None:  # it ended at an earlier step, or a sibling's row failed and took the request with it
            return
        if not decoded.finite[row]:
            self.counts.not_finite += 1
            error = NumericalError("the model's logits were not finite for this request; its numbers cannot be trusted")
            self._fail([sample], error)
            return
        token_id, logprobs, measures = decoded.token_ids[row], decoded.logprobs[row], decoded.measures[row]
        sample.num_generated += 1
        self.counts.generated_tokens += 1
        reason = None
        if token_id in sample.request.stop_ids:
            reason = FinishReason.STOP
        elif sample.num_generated == sample.request.params.max_tokens:
            reason = FinishReason.LENGTH
        event = TokenEvent(
            sample.index,
            (token_id,),
            () if logprobs is None else (logprobs,),
            () if measures is None else (measures,),
            finish_reason=reason,
        )
        self._emit(sample, event)
        if reason is not None:
            self._retire(sample, reason)

    def _fail(self, samples: Iterable[Sample], error: KelvinError) -> None:
        for request in {id(sample.request): sample.request for sample in samples}.values():
            self._outbox.append((request.stream, error))
            for sample in request.samples:
                if sample.slot is not None:
                    self._scheduler.forget(sample.slot)
                if sample.finish_reason is None:
                    self._retire(sample, FinishReason.CANCELLED)

    def _retire(self, sample: Sample, reason: FinishReason) -> None:
        if sample.request.started_s is not None:
            sample.request.stream.timings.decode_s = self._clock() - sample.request.started_s
        slot = self._scheduler.finish(sample, reason)
        if slot is not None:
            self.backend.release(slot)

    def _emit(self, sample: Sample, event: TokenEvent) -> None:
        self._outbox.append((sample.request.stream, event))

    def _flush(self) -> None:
        """Hand each event loop all of this step's events in one call."""
        loops: dict[asyncio.AbstractEventLoop, list[tuple[TokenStream, TokenEvent | KelvinError]]] = {}
        for stream, event in self._outbox:
            loops.setdefault(stream.loop, []).append((stream, event))
        self._outbox = []
        for loop, deliveries in loops.items():
            try:
                loop.call_soon_threadsafe(_deliver, deliveries)
            except RuntimeError:  # the loop has closed and with it everybody who waited
                for stream in {id(stream): stream for stream, _ in deliveries}.values():
                    stream.cancel()


def _deliver(deliveries: list[tuple[TokenStream, TokenEvent | KelvinError]]) -> None:
    for stream, event in deliveries:
        stream.deliver(event)
