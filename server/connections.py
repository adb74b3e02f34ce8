"""Connections: closes those whose clients neither take what they are sent nor send what they began."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

log = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 30.0


class Connection(Protocol):
    """What is asked of uvicorn's side of a connection.

    Attributes:
        transport: of asyncio.
        cycle: the last request that has come, and its response; None: none has come whole.
    """

    transport: Any
    cycle: Any


@dataclass(frozen=True, slots=True)
class _Standing:
    """How a connection stood when it was looked at, and since when nothing has moved."""

    pending_bytes: int
    waits_for_request: bool
    since_s: float


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
        self._standing: dict[Connection, _Standing] = {}

    def sweep(self, connections: Iterable[Connection]) -> None:
        """Close what stands still; call it every second or so, on the event loop.

        Args:
            connections: all that are open.
        """
        now = self._clock()
        before, self._standing = self._standing, {}
        for connection in connections:
            standing = self._standing[connection] = _look(connection, before.get(connection), now)
            if standing.pending_bytes and now - standing.since_s >= self._send_timeout_s:
                log.warning("a client has taken nothing for %g s; its connection is closed", now - standing.since_s)
                connection.transport.abort()  # to close it would be to wait for what it does not take
            elif standing.waits_for_request and now - standing.since_s >= HEAD_TIMEOUT_S:
                log.info("no request has come within %g s; the connection is closed", HEAD_TIMEOUT_S)
                connection.transport.abort()


def _look(connection: Connection, before: _Standing | None, now: float) -> _Standing:
    pending = connection.transport.get_write_buffer_size()
    waits = not pending and (connection.cycle is None or connection.cycle.response_complete)
    # A buffer whose client does not read grows until it is full, and from then on nothing changes.
    same = before is not None and (pending, waits) == (before.pending_bytes, before.waits_for_request)
    return _Standing(pending, waits, before.since_s if same and before and (pending or waits) else now)
