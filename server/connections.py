"""Connections: closes those whose clients do not take what they are sent."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

log = logging.getLogger(__name__)


class Connection(Protocol):
    """What is asked of uvicorn's side of a connection.

    Attributes:
        transport: of asyncio.
    """

    transport: Any


class Connections:
    """Looks at all connections every now and then.

    A stream whose client does not read fills the buffers of both machines, and then waits; without an end to that, a
    few such clients could keep memory, descriptors and, while tokens are drawn, slots.
    """

    def __init__(self, *, send_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none seen.

        Args:
            send_timeout_s: for how long a client may take nothing of what waits for it.
            clock: seconds, monotonic.
        """
        self._send_timeout_s = send_timeout_s
        self._clock = clock
        self._standing: dict[Connection, tuple[int, float]] = {}  # bytes that wait, and since when they are so many

    def sweep(self, connections: Iterable[Connection]) -> None:
        """Close those that stand still; call it every second or so, on the event loop.

        Args:
            connections: all that are open.
        """
        now = self._clock()
        before, self._standing = self._standing, {}
        for connection in connections:
            num_bytes = connection.transport.get_write_buffer_size()
            # A buffer whose client does not read grows until it is full, and from then on nothing changes.
            same = connection in before and before[connection][0] == num_bytes
            since_s = before[connection][1] if same else now
            self._standing[connection] = num_bytes, since_s
            if num_bytes and now - since_s >= self._send_timeout_s:
                log.warning("a client has taken nothing for %g s; its connection is closed", now - since_s)
                connection.transport.abort()  # to close it would be to wait for what it does not take
