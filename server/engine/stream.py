"""TokenStream: the way of a request's tokens from the engine's thread to the event loop that asked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from server.backends.base import Reproducible, TokenLogprobs, TokenMeasures
from server.errors import KelvinError, SlowReaderError

MOST_BEHIND = 2**14  # events that may wait for their consumer: some megabytes


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """What one step added to one sample.

    Attributes:
        sample: index of the sample, 0 to n - 1.
        token_ids: drawn in this step; empty where the sample ended without a token.
        logprobs: one entry a token, or empty where none were asked for.
        measures: likewise.
        finish_reason: set on the sample's last event: `stop`, `length`, `timeout` or `cancelled`.
        logits: the raw next-token logits, in answer to `Engine.logits` alone.
    """

    sample: int
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] = ()
    measures: tuple[TokenMeasures, ...] = ()
    finish_reason: str | None = None
    logits: Sequence[float] | None = None


@dataclass(slots=True)
class Timings:
    """Where a request's time went, in seconds."""

    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0


class TokenStream:
    """An asynchronous iterator over the events of one request's samples.

    It ends when every sample has ended, and raises the request's KelvinError if it failed. The engine calls `deliver`
    on the event loop; all else belongs to the consumer.
    """

    def __init__(self, n: int, loop: asyncio.AbstractEventLoop, on_cancel: Callable[[int], None]) -> None:
        """Open a stream.

        Args:
            n: number of samples.
            loop: the event loop of the consumer.
            on_cancel: called with a sample's index, from the consumer's thread.
        """
        self.loop = loop
        self.timings = Timings()
        self.reproducible: Reproducible = "bitwise"
        self._on_cancel = on_cancel
        self._lost = False
        self._events: asyncio.Queue[TokenEvent | KelvinError] = asyncio.Queue()
        self._unfinished = set(range(n))

    def deliver(self, event: TokenEvent | KelvinError) -> None:
        """Hand over an event or the request's failure; on the event loop only.

        A consumer that falls too far behind loses the request: all its samples end, and it is told so.
        """
        if self._lost:
            return
        if self._events.qsize() >= MOST_BEHIND:
            self._lost = True
            self.cancel()
            event = SlowReaderError("the answer was not read as fast as it was written; read faster, or ask for less")
        self._events.put_nowait(event)

    def cancel(self, sample: int | None = None) -> None:
        """Stop a sample, or all of them; its slot is free after the backend's next call. An ended one stays ended."""
        for index in self._unfinished if sample is None else self._unfinished & {sample}:
            self._on_cancel(index)

    def __aiter__(self) -> AsyncIterator[TokenEvent]:
        return self

    async def __anext__(self) -> TokenEvent:
        if not self._unfinished:
            raise StopAsyncIteration
        event = await self._events.get()
        if isinstance(event, KelvinError):
            self._unfinished.clear()
            raise event
        if event.finish_reason is not None:
            self._unfinished.discard(event.sample)
        return event
