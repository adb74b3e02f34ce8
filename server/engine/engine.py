"""Engine: a batch on a thread of its own, and the way for requests to get there and back."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from samplers.params import SamplingParams
from server.backends.base import Backend
from server.engine.batch import Batch
from server.engine.counts import Counts
from server.engine.request import FinishReason, Prompt, Request, Sample, require_fit
from server.engine.stream import TokenStream
from server.errors import OverloadedError, UnavailableError

log = logging.getLogger(__name__)


class Engine:
    """Runs requests through a backend; they join and leave between decode steps.

    `submit` and `logits` are called on an event loop; the batch belongs to the engine's thread, which takes what was
    posted to it between two steps.

    Attributes:
        backend: runs the model.
        queue_limit: samples that may wait for a slot.
        queue_tokens: tokens that they may take together, prompts included.
        last_step_s: clock reading when the last step began; old while samples run, it means that a step hangs.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        queue_limit: int = 256,
        queue_tokens: int = 2**18,
        prefix_cache: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up an engine; `start` starts its thread.

        Args:
            backend: runs the model; once started, only the engine's thread uses it.
            queue_limit: samples that may wait for a slot; beyond it `submit` refuses.
            queue_tokens: tokens that they may take together, prompts included; likewise.
            prefix_cache: whether a prompt may begin with what slots hold of other prompts of its owner.
            clock: seconds, monotonic.
        """
        self.backend = backend
        self.queue_limit, self.queue_tokens = queue_limit, queue_tokens
        self.last_step_s = clock()
        self._clock = clock
        self._batch = Batch(backend, clock, prefix_cache=prefix_cache)
        self._inbox: deque[Callable[[], None]] = deque()
        self._num_posted = self._num_posted_tokens = 0
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def alive(self) -> bool:
        """Say whether the engine takes requests."""
        return self._thread.is_alive() and not self._stopping

    @property
    def num_waiting(self) -> int:
        """Count the samples that wait for a slot."""
        return self._num_posted + self._batch.num_waiting

    @property
    def num_waiting_tokens(self) -> int:
        """Count the tokens that those samples may take, prompts included."""
        return self._num_posted_tokens + self._batch.num_waiting_tokens

    @property
    def num_running(self) -> int:
        """Count the samples that hold a slot."""
        return self._batch.num_running

    @property
    def counts(self) -> Counts:
        """Return what has been done so far."""
        return self._batch.counts

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
        self,
        prompt: Sequence[int] | Prompt,
        params: SamplingParams,
        *,
        n: int = 1,
        first_sample: int = 0,
        timeout_s: float | None = None,
        queue_timeout_s: float | None = None,
        owner: bytes | None = None,
    ) -> TokenStream:
        """Queue a prompt and return the stream of its samples' tokens; call it on a running event loop.

        Args:
            prompt: at least one token, each below the backend's `vocab_size`; requests that give the same `Prompt`
                share its prefill.
            params: sampling parameters, shared by the samples.
            n: number of samples, at least 1.
            first_sample: what the noise calls the first of them: a request may draw a part of another's samples.
            timeout_s: seconds after which the samples end with what they have; None: no limit.
            queue_timeout_s: seconds after which the request fails if no sample has got a slot; None: no limit.
            owner: with whose prompts this one may share its beginning; None: nobody's. A `Prompt` has its own.

        Raises:
            InvalidRequestError: an empty prompt, or a token id that the model does not have.
            ContextLengthError: prompt and `max_tokens` exceed the backend's `max_length`.
            OverloadedError: more than `queue_limit` samples or `queue_tokens` tokens would wait.
            UnavailableError: the engine has stopped.
        """
        prompt = prompt if isinstance(prompt, Prompt) else Prompt(tuple(prompt), owner)
        return self._enqueue(prompt, params, n, timeout_s, queue_timeout_s, first_sample=first_sample)

    def require_room(self, num_samples: int, num_tokens: int) -> None:
        """Refuse early what `submit` would refuse, before anything is spent on it.

        Args:
            num_samples: at least 1.
            num_tokens: that they may take, prompts included, or a bound on that.

        Raises:
            OverloadedError: others wait, and beside them the queue has no room.
        """
        if self.num_waiting:
            self._require_room(num_samples, num_tokens)

    async def logits(self, prompt_ids: Sequence[int], queue_timeout_s: float | None = None) -> Sequence[float]:
        """Return the raw logits of the token that follows a prompt; takes its turn for a slot.

        Args:
            prompt_ids: as `submit`.
            queue_timeout_s: likewise.

        Raises:
            KelvinError: as `submit`.
        """
        stream = self._enqueue(
            Prompt(tuple(prompt_ids)), SamplingParams(max_tokens=1), 1, None, queue_timeout_s, probe=True
        )
        try:
            event = await anext(stream)
        finally:
            stream.cancel()
        assert event.logits is not None
        return event.logits

    def _enqueue(
        self,
        prompt: Prompt,
        params: SamplingParams,
        n: int,
        timeout_s: float | None,
        queue_timeout_s: float | None,
        **options: Any,
    ) -> TokenStream:
        require_fit(prompt, params, self.backend.vocab_size, self.backend.max_length)
        stream = TokenStream(n, asyncio.get_running_loop(), lambda index: self._post(lambda: cancel(index)))
        now = self._clock()
        request = Request(
            prompt=prompt,
            params=params,
            stop_ids=params.stop_ids(self.backend.eos_token_ids),
            stream=stream,
            submitted_s=now,
            deadline_s=None if timeout_s is None else now + timeout_s,
            queue_deadline_s=None if queue_timeout_s is None else now + queue_timeout_s,
            **options,
        )
        request.samples = [Sample(request, index) for index in range(n)]

        def cancel(index: int) -> None:
            self._batch.finish(request.samples[index], FinishReason.CANCELLED)

        self._post_request(request)
        return stream

    def _post_request(self, request: Request) -> None:
        num_samples, num_tokens = len(request.samples), sum(sample.num_tokens for sample in request.samples)
        with self._wake:
            if not self.alive:
                raise UnavailableError("the engine has stopped; restart the server")
            self._require_room(num_samples, num_tokens)
            self._num_posted += num_samples
            self._num_posted_tokens += num_tokens
            self._post(lambda: self._add(request, num_tokens))

    def _post(self, action: Callable[[], None]) -> None:
        with self._wake:
            if self.alive:
                self._inbox.append(action)
                self._wake.notify()

    def _require_room(self, num_samples: int, num_tokens: int) -> None:
        if self.num_waiting + num_samples > self.queue_limit:
            raise self._overloaded(f"{self.num_waiting} samples", self.queue_limit, num_samples, num_tokens)
        if self.num_waiting_tokens + num_tokens > self.queue_tokens:
            raise self._overloaded(f"{self.num_waiting_tokens} tokens", self.queue_tokens, num_samples, num_tokens)

    def _overloaded(self, waiting: str, limit: int, num_samples: int, num_tokens: int) -> OverloadedError:
        beyond = self.num_waiting + num_samples - self.queue_limit
        beyond_tokens = self.num_waiting_tokens + num_tokens - self.queue_tokens
        retry_after_s = self._batch.pace.seconds_until(self._clock(), max(beyond, 0), max(beyond_tokens, 0))
        return OverloadedError(
            f"{waiting} wait already and {limit} may; there should be room in about {retry_after_s} s",
            retry_after_s=retry_after_s,
        )

    # The engine's thread from here on.

    def _run(self) -> None:
        try:
            while self._take_inbox():
                self._batch.step()
        except BaseException:
            log.exception("the engine's thread has died")
        finally:
            with self._wake:
                self._stopping = True
            while self._inbox:  # who came while the thread died must hear of it too
                self._batch.attempt((), self._inbox.popleft())
            self._batch.abandon(UnavailableError("the engine has stopped; restart the server"))

    def _take_inbox(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._inbox or self._batch)
        while self._inbox:
            self._inbox.popleft()()
        self.last_step_s = self._clock()
        return not self._stopping

    def _add(self, request: Request, num_tokens: int) -> None:
        with self._wake:  # so that `num_waiting` counts every sample once
            self._batch.add(request)
            self._num_posted -= len(request.samples)
            self._num_posted_tokens -= num_tokens
