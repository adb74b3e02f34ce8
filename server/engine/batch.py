"""Batch: continuous batching. Samples join and leave between steps, and each step draws for all that decode."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from server.backends.base import Backend, Decoded
from server.engine.blame import halves, in_words, newest, nothing_drawn, ran_out_of_memory
from server.engine.budget import Budget, next_chunk
from server.engine.counts import Counts
from server.engine.outbox import Outbox
from server.engine.pace import Pace
from server.engine.request import FinishReason, Request, Sample
from server.engine.scheduler import Scheduler
from server.engine.stream import TokenEvent
from server.errors import KelvinError, NumericalError, QueueTimeoutError

log = logging.getLogger(__name__)

OBSERVED_EVERY = 128  # samples; a measured row makes a step of 32 rows 2.5 % slower, so the mean step 0.6 %


class Batch:
    """The samples that live, and what a step does with them; for one thread.

    Attributes:
        backend: runs the model.
        counts: what has been done so far.
        pace: how fast samples get slots.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float], *, prefix_cache: bool = False) -> None:
        """Start with no samples.

        Args:
            backend: runs the model.
            clock: seconds, monotonic.
            prefix_cache: whether prompts of one owner share their beginnings.
        """
        self.backend = backend
        self.counts = Counts()
        self.pace = Pace(clock())
        self._clock = clock
        self._prefix_cache = prefix_cache
        self._scheduler = Scheduler(backend.num_slots, prefix_cache=prefix_cache)
        self._budget = Budget(backend.prefill_least, backend.prefill_chunk)
        self._outbox = Outbox()
        self._num_started = 0

    def __bool__(self) -> bool:
        return bool(self._scheduler)

    @property
    def num_waiting(self) -> int:
        """Count the samples that wait for a slot."""
        return len(self._scheduler.waiting)

    @property
    def num_waiting_tokens(self) -> int:
        """Count the tokens that those samples may take, prompts included."""
        return self._scheduler.num_waiting_tokens

    @property
    def num_running(self) -> int:
        """Count the samples that hold a slot."""
        return self._scheduler.num_placed

    def add(self, request: Request) -> None:
        """Queue every sample of a request."""
        self.counts.prompt_tokens += len(request.prompt)
        if self._prefix_cache and request.prompt.owner is not None:
            self.counts.prefix_queries += request.prompt.num_prefill
        self._scheduler.add(request)

    def step(self) -> None:
        """Admit, prefill, decode: one round over all samples that live."""
        self._expire()
        self._admit()
        self._prefill()
        self._start_decoding()
        self._decode(self._scheduler.decoding())
        self._outbox.flush()

    def finish(self, sample: Sample, reason: FinishReason) -> None:
        """End a sample that still lives, with what it has."""
        if sample.finish_reason is None:
            self._outbox.add(sample.request.stream, TokenEvent(sample.index, (), finish_reason=reason))
            self._retire(sample, reason)

    def attempt(self, samples: Iterable[Sample], action: Callable[[], object]) -> bool:
        """Do something for samples; if it raises, their requests fail and no others. Say whether it went well."""
        try:
            action()
        except Exception as error:
            log.exception("the backend failed")
            self._fail(samples, in_words(error))
            return False
        return True

    def abandon(self, error: KelvinError) -> None:
        """Fail everybody without a word to the backend, which may be what has failed."""
        for request in {id(sample.request): sample.request for sample in self._scheduler.samples()}.values():
            self._outbox.add(request.stream, error)
        self._outbox.flush()

    def _expire(self) -> None:
        now = self._clock()
        for sample in self._scheduler.samples():
            deadline_s = sample.request.deadline_s
            if deadline_s is not None and now >= deadline_s:
                self.finish(sample, FinishReason.TIMEOUT)
            elif sample.finish_reason is None and sample.request.is_late(now):
                self._fail([sample], self._too_late(now))

    def _too_late(self, now: float) -> QueueTimeoutError:
        return QueueTimeoutError(
            "the request has waited for a slot for as long as this server lets one wait; try again in a moment",
            retry_after_s=self.pace.seconds_until(now, self.num_waiting, self.num_waiting_tokens),
        )

    def _admit(self) -> None:
        now = self._clock()
        for sample in self._scheduler.admit():
            request = sample.request
            self.pace.left(now, 1, sample.num_tokens)
            if request.admitted_s is None:
                request.admitted_s = now
                request.stream.timings.queue_s = now - request.submitted_s
            if sample.prefix is not None:  # at once: another sample may take its source's slot over
                self.attempt([sample], lambda sample=sample: self._copy_prefix(sample))  # type: ignore[misc]

    def _copy_prefix(self, sample: Sample) -> None:
        assert sample.prefix is not None
        assert sample.slot is not None
        source, length = sample.prefix
        if source != sample.slot:
            self.backend.copy(source, sample.slot, length)
        self._scheduler.prefilled(sample, length)
        self.counts.prefix_hits += length
        self.counts.prefix_prompts += 1

    def _prefill(self) -> None:
        waiting = self._scheduler.prefilling()
        chunk = next_chunk(waiting, self._budget.tokens(len(self._scheduler.decoding()), len(waiting)))
        try:
            if chunk:
                started_s = self._clock()
                self.backend.prefill([piece for _, piece in chunk])
                self._budget.prefilled(sum(len(piece.token_ids) for _, piece in chunk), self._clock() - started_s)
        except Exception as error:
            if ran_out_of_memory(error):  # nothing has been noted of any prompt: the others are tried at the next step
                self._fail_newest([sample for sample, _ in chunk], error)
                return
            log.exception("a prefill failed; each of its %d prompts is tried alone, so that it fails alone", len(chunk))
            chunk = [
                (sample, piece)
                for sample, piece in chunk
                if self.attempt([sample], lambda piece=piece: self.backend.prefill([piece]))  # type: ignore[misc]
            ]
        for sample, piece in chunk:
            self._scheduler.prefilled(sample, len(piece.token_ids))

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
            self._scheduler.prefilled(sample, request.prompt.num_prefill - sample.num_prefilled)
        sample.observed, self._num_started = not self._num_started % OBSERVED_EVERY, self._num_started + 1
        params = replace(request.params, measures=True) if sample.observed else request.params
        if self.backend.admit(slot, request.prompt.token_ids, params, request.first_sample + sample.index) == "noise":
            request.stream.reproducible = "noise"
        sample.decoding = True
        if request.started_s is None:
            request.started_s = self._clock()
            assert request.admitted_s is not None
            request.stream.timings.prefill_s = request.started_s - request.admitted_s
        if request.probe:
            self._outbox.add(
                sample.request.stream, TokenEvent(0, (), logits=self.backend.logits(slot), finish_reason="length")
            )
            self._retire(sample, FinishReason.LENGTH)

    def _decode(self, samples: Sequence[Sample]) -> None:
        """Draw for samples; where the backend fails, once more for those who may not be to blame."""
        samples = [sample for sample in samples if sample.slot is not None]
        slots = [sample.slot for sample in samples if sample.slot is not None]
        if not slots:
            return
        started_s = self._clock()
        try:
            steps = self.backend.decode_steps(slots, self._num_steps())
        except Exception as error:
            for part in self._blame(samples, error):
                self._decode(part)
            return
        self.counts.steps += len(steps)
        self._budget.stepped((self._clock() - started_s) / len(steps))
        for step in steps:
            for row, sample in enumerate(samples):
                self._record(sample, step, row)

    def _blame(self, samples: Sequence[Sample], error: Exception) -> list[Sequence[Sample]]:
        """Fail those who are to blame for a decode that failed, and return who is to be tried again, in which parts."""
        if not self.backend.unmoved:  # nobody's noise or history would be right any more
            log.exception("a step failed half-way, and with it its %d samples", len(samples))
            self._fail(samples, in_words(error))
            return []
        if ran_out_of_memory(error):
            return [self._fail_newest(samples, error)]
        if len(samples) > 1:
            log.warning("a step of %d samples failed; each half is tried alone", len(samples))
            return halves(samples)
        log.exception("a step failed, and with it the request that it was for")
        self._fail(samples, in_words(error))
        return []

    def _fail_newest(self, samples: Sequence[Sample], error: Exception) -> list[Sample]:
        """Fail the request that came last, and return the samples of the others."""
        last = newest(samples)
        log.error("out of memory with %d samples; the newest request fails", len(samples), exc_info=error)
        self._fail(last, in_words(error))
        return [sample for sample in samples if sample not in last]

    def _num_steps(self) -> int:
        """Return how many steps to draw in one call: one where anybody waits for what happens between steps."""
        waits = self._scheduler.waiting or self._scheduler.prefilling()
        return 1 if waits else self.backend.max_steps

    def _record(self, sample: Sample, decoded: Decoded, row: int) -> None:
        if sample.slot is None:  # it ended at an earlier step, or a sibling's row failed and took the request with it
            return
        if not decoded.finite[row]:
            error = nothing_drawn(self.backend, sample)
            self.counts.not_finite += isinstance(error, NumericalError)
            self._fail([sample], error)
            return
        sample.num_generated += 1
        self.counts.generated_tokens += 1
        measures = decoded.measures[row]
        if sample.observed and measures is not None:
            self.counts.entropy.add(measures.entropy)
            self.counts.kept.add(measures.kept)
        try:
            event = sample.event(decoded, row)
        except Exception as error:
            log.exception("what a step drew for a request could not be read")
            self._fail([sample], in_words(error))
            return
        self._outbox.add(sample.request.stream, event)
        if event.finish_reason is not None:
            self._retire(sample, FinishReason(event.finish_reason))

    def _fail(self, samples: Iterable[Sample], error: KelvinError) -> None:
        for request in {id(sample.request): sample.request for sample in samples}.values():
            self._outbox.add(request.stream, error)
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
