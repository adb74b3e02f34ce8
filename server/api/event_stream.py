"""EventStream: server-sent events whose first one is there before the response begins."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from server.api.disconnect import until_disconnect

DONE = "data: [DONE]\n\n"
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # proxies would hold events back


def as_event(value: Any) -> str:
    """Write a value as one event; in ASCII, because some clients take U+2028 for the end of a line."""
    return f"data: {_ENCODER.encode(value)}\n\n"


class EventStream(StreamingResponse):
    """Sends events until they end or the client leaves; either way their generator is closed."""

    def __init__(self, events: AsyncGenerator[str, None], first: str) -> None:
        """Prepare the response; `begin` does it with the first event.

        Args:
            events: what is to come.
            first: what has come already.
        """
        super().__init__(events, headers=_HEADERS, media_type="text/event-stream")
        self._events = events
        self._first = first

    @classmethod
    async def begin(cls, request: Request, events: AsyncGenerator[str, None]) -> "EventStream":
        """Await the first event, so that a failure before it has a status code of its own.

        Args:
            request: whose body has been read.
            events: at least one.

        Raises:
            Exception: what the generator raises before its first event.
            ClientDisconnect: the client left first.
        """
        try:
            return cls(events, await until_disconnect(request.receive, anext(events)))
        except BaseException:
            await events.aclose()
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything; a client that leaves is noticed even while no event comes."""
        async with aclosing(self._events):
            try:
                await until_disconnect(receive, self._send_all(send))
            except (ClientDisconnect, OSError):  # servers differ: some let `send` fail
                scope["state"]["facts"]["error"] = "client_disconnected"

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._first.encode(), "more_body": True})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
