"""Outbox: what a step has to say to its requests, handed to each event loop in one call."""

import asyncio

from server.engine.stream import TokenEvent, TokenStream
from server.errors import KelvinError

Delivery = tuple[TokenStream, TokenEvent | KelvinError]


class Outbox:
    """Events and failures that have not been sent yet; for one thread."""

    def __init__(self) -> None:
        self._deliveries: list[Delivery] = []

    def add(self, stream: TokenStream, event: TokenEvent | KelvinError) -> None:
        """Keep an event, or a request's failure, until `flush`."""
        self._deliveries.append((stream, event))

    def flush(self) -> None:
        """Hand each event loop all of its events in one call."""
        loops: dict[asyncio.AbstractEventLoop, list[Delivery]] = {}
        for stream, event in self._deliveries:
            loops.setdefault(stream.loop, []).append((stream, event))
        self._deliveries = []
        for loop, deliveries in loops.items():
            try:
                loop.call_soon_threadsafe(_deliver, deliveries)
            except RuntimeError:  # the loop has closed and with it everybody who waited
                for stream in {id(stream): stream for stream, _ in deliveries}.values():
                    stream.cancel()


def _deliver(deliveries: list[Delivery]) -> None:
    for stream, event in deliveries:
        stream.deliver(event)
