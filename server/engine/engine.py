"""Engine: continuous batching over a Backend, on a thread of its own."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from samplers.params import SamplingParams
from server.backends.base import Backend, Decoded, PromptPiece
from server.engine.request import FinishReason, Request, Sample
from server.engine.scheduler import Scheduler
from server.engine.stream import TokenEvent, TokenStream
from server.errors import (
    ContextLengthError,
    InvalidRequestError,
    KelvinError,
    NumericalError,
    OverloadedError,
    UnavailableError,
)

log = logging.getLogger(__name__)


class Engine:
    """Runs requests through a backend; they join and leave between decode steps.

    `submit` and `logits` are called on an event loop, the rest runs on the engine's thread. A step admits waiting
    samples to free slots, spends one chunk on prompts, and draws one token for every sample that decodes.

    Attributes:
        backend: runs the model.
        queue_limit: samples that may wait for a slot.
        last_step_s: clock reading when the last step began; old while samples run, it means that a step hangs.
    """

    def __init__(
        self, backend: Backend, *, queue_limit: int = 256, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Set up an engine; `start` starts its thread.

        Args:
            backend: runs the model; once started, only the engine's thread uses it.
            queue_limit: samples that may wait for a slot; beyond it `submit` refuses.
            clock: seconds, monotonic.
        """
        self.backend = backend
        self.queue_limit = queue_limit
        self.last_step_s = clock()
        self._clock = clock
        self._scheduler = Scheduler(backend.num_slots)
        self._inbox: deque[Callable[[], None]] = deque()
        self._num_posted = 0
        self._wake = threading.Condition()
        self._stopping = False
        self._outbox: list[tuple[TokenStream, TokenEvent | KelvinError]] = []
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def alive(self) -> bool:
        """Say whether the engine takes requests."""
        return self._thread.is_alive() and not self._stopping

    @property
    def num_waiting(self) -> int:
        """Count the samples that wait for a slot."""
        return self._num_posted + len(self._scheduler.waiting)

    @property
    def num_running(self) -> int:
        """Count the samples that hold a slot."""
        return self._scheduler.num_placed

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop the thread; requests that still run fail with UnavailableError."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def submit(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, n: int = 1, timeout_s: float | None = None
    ) -> TokenStream:
        """Queue a prompt and return the stream of its samples' tokens; call it on a running event loop.

        Args:
            prompt_ids: at least one token, each below the backend's `vocab_size`.
            params: sampling parameters, shared by the samples.
            n: number of samples, at least 1.
            timeout_s: seconds after which the samples end with what they have; None: no limit.

        Raises:
            InvalidRequestError: an empty prompt, or a token id that the model does not have.
            ContextLengthError: prompt and `max_tokens` exceed the backend's `max_length`.
            OverloadedError: more than `queue_limit` samples would wait.
            UnavailableError: the engine has stopped.
        """
        return self._enqueue(prompt_ids, params, n, timeout_s, probe=False)

    async def logits(self, prompt_ids: Sequence[int]) -> Sequence[float]:
        """Return the raw logits of the token that follows a prompt; takes its turn for a slot.

        Args:
            prompt_ids: as `submit`.

        Raises:
            KelvinError: as `submit`.
        """
        stream = self._enqueue(prompt_ids, SamplingParams(max_tokens=1), 1, None, probe=True)
        try:
            event = await anext(stream)
        finally:
            stream.cancel()
        assert event.logits is not None
        return event.logits

    def _enqueue(
        self, prompt_ids: Sequence[int], params: SamplingParams, n: int, timeout_s: float | None, *, probe: bool
    ) -> TokenStream:
        self._check(prompt_ids, params)
        stream = TokenStream(n, asyncio.get_running_loop(), lambda index: self._post(lambda: cancel(index)))
        now = self._clock()
        request = Request(
            prompt_ids=tuple(prompt_ids),
            params=params,
            stop_ids=params.stop_ids(self.backend.eos_token_ids),
            stream=stream,
            submitted_s=now,
            deadline_s=None if timeout_s is None else now + timeout_s,
            probe=probe,
        )
        request.samples = [Sample(request, index) for index in range(n)]

        def cancel(index: int) -> None:
            self._finish(request.samples[index], FinishReason.CANCELLED)

        self._post(lambda: self._add(request), num_samples=n)
        return stream

    def _check(self, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        vocab_size, max_length = self.backend.vocab_size, self.backend.max_length
        if not prompt_ids:
            raise InvalidRequestError("the prompt is empty; give at least one token", param="prompt")
        beyond = next((token_id for token_id in prompt_ids if not 0 <= token_id < vocab_size), None)
        if beyond is not None:
            raise InvalidRequestError(
                f"the prompt holds token {beyond}; this model's token ids are 0 to {vocab_size - 1}", param="prompt"
            )
        if len(prompt_ids) + params.max_tokens > max_length:
            raise ContextLengthError(
                f"the prompt's {len(prompt_ids)} tokens and max_tokens {params.max_tokens} exceed the {max_length} "
                "positions that this server holds per sequence; shorten the prompt or lower max_tokens",
                param="max_tokens" if len(prompt_ids) < max_length else "prompt",
            )

    def _post(self, action: Callable[[], None], *, num_samples: int = 0) -> None:
        with self._wake:
            if not self.alive:
                if num_samples:
                    raise UnavailableError("the engine has stopped; restart the server")
                return
            if num_samples and self.num_waiting + num_samples > self.queue_limit:
                raise OverloadedError(
                    f"{self.num_waiting} samples wait already and {self.queue_limit} may; try again in a moment"
                )
            self._num_posted += num_samples
            self._inbox.append(action)
            self._wake.notify()

    # The engine's thread from here on.

    def _run(self) -> None:
        try:
            while self._take_inbox():
                self.step()
        except Exception:
            log.exception("the engine's thread has died")
        finally:
            with self._wake:
                self._stopping = True
            while self._inbox:  # who came while the thread died must hear of it too
                self._attempt((), self._inbox.popleft())
            self._abandon()

    def _take_inbox(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._inbox or self._scheduler)
        while self._inbox:
            self._inbox.popleft()()
        self.last_step_s = self._clock()
        return not self._stopping

    def _abandon(self) -> None:
        """Fail everybody without a word to the backend, which may be what has failed."""
        error = UnavailableError("the engine has stopped; restart the server")
        for request in {id(sample.request): sample.request for sample in self._scheduler.samples()}.values():
            self._outbox.append((request.stream, error))
        self._flush()

    def _add(self, request: Request) -> None:
        with self._wake:  # so that `num_waiting` counts every sample once
            self._scheduler.add(request)
            self._num_posted -= len(request.samples)

    def step(self) -> None:
        """Admit, prefill, decode: one round over all samples that live."""
        self._expire()
        self._admit()
        self._prefill()
        self._start_decoding()
        self._decode()
        self._flush()

    def _expire(self) -> None:
        now = self._clock()
        for sample in self._scheduler.samples():
            deadline_s = sample.request.deadline_s
            if deadline_s is not None and now >= deadline_s:
                self._finish(sample, FinishReason.TIMEOUT)

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
                if self._attempt([sample], lambda piece=piece: self.backend.prefill([piece]))  # type: ignore[misc]
            ]
        for sample, piece in chunk:
            sample.num_prefilled += len(piece.token_ids)

    def _next_chunk(self) -> list[tuple[Sample, PromptPiece]]:
        chunk: list[tuple[Sample, PromptPiece]] = []
        budget = self.backend.prefill_chunk
        for sample in self._scheduler.prefilling():
            if not budget:
                break
            assert sample.slot is not None
            end = min(sample.num_prefilled + budget, sample.request.num_prefill)
            token_ids = sample.request.prompt_ids[sample.num_prefilled : end]
            chunk.append((sample, PromptPiece(sample.slot, token_ids, sample.num_prefilled)))
            budget -= len(token_ids)
        return chunk

    def _start_decoding(self) -> None:
        for sample in self._scheduler.ready():
            if sample.slot is not None:  # a sibling's failure may have ended it within this loop
                self._attempt([sample], lambda sample=sample: self._start(sample))  # type: ignore[misc]

    def _start(self, sample: Sample) -> None:
        request, slot = sample.request, sample.slot
        assert slot is not None
        if not sample.prefilled:
            source = self._scheduler.source(sample)
            assert source is not None
            assert source.slot is not None
            self.backend.copy(source.slot, slot, request.num_prefill)
            sample.num_prefilled = request.num_prefill
        if self.backend.admit(slot, request.prompt_ids, request.params, sample.index) == "noise":
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
        decoded: list[Decoded] = []
        if slots and self._attempt(samples, lambda: decoded.append(self.backend.decode(slots))):
            for row, sample in enumerate(samples):
                self._record(sample, decoded[0], row)

    def _record(self, sample: Sample, decoded: Decoded, row: int) -> None:
        if sample.slot is None:  # a sibling's row failed and took the request with it
            return
        if not decoded.finite[row]:
            error = NumericalError("the model's logits were not finite for this request; its numbers cannot be trusted")
            self._fail([sample], error)
            return
        token_id, logprobs = decoded.token_ids[row], decoded.logprobs[row]
        sample.num_generated += 1
        reason = None
        if token_id in sample.request.stop_ids:
            reason = FinishReason.STOP
        elif sample.num_generated == sample.request.params.max_tokens:
            reason = FinishReason.LENGTH
        self._emit(sample, TokenEvent(sample.index, (token_id,), () if logprobs is None else (logprobs,), reason))
        if reason is not None:
            self._retire(sample, reason)

    def _attempt(self, samples: Iterable[Sample], action: Callable[[], object]) -> bool:
        try:
            action()
        except Exception as error:
            log.exception("the backend failed")
            self._fail(samples, KelvinError(f"the model failed on this request: {type(error).__name__}"))
            return False
        return True

    def _fail(self, samples: Iterable[Sample], error: KelvinError) -> None:
        for request in {id(sample.request): sample.request for sample in samples}.values():
            self._outbox.append((request.stream, error))
            for sample in request.samples:
                if sample.finish_reason is None:
                    self._retire(sample, FinishReason.CANCELLED)

    def _finish(self, sample: Sample, reason: FinishReason) -> None:
        if sample.finish_reason is None:
            self._emit(sample, TokenEvent(sample.index, (), finish_reason=reason))
            self._retire(sample, reason)

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
