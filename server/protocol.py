"""Protocol: a connection that speaks HTTP/1.1, where every wait for a client has an end and every refusal one shape."""

import asyncio
import secrets
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.api.failures import failure_body

HEAD_TIMEOUT_S = 30.0
LINGER_S = 2.0

_CODES = {400: "invalid_request", 408: "request_timeout", 431: "head_too_large"}
_MESSAGES = {
    400: "this is no request of HTTP/1.1 that can be read in one way only; let a client write it",
    408: f"the request's head did not arrive within {HEAD_TIMEOUT_S:.0f} seconds; send it faster",
    431: "the request's head is too long; send fewer and shorter headers, and a shorter path",
}


class _Unhurried:
    """A connection whose closing leaves a client that still sends the time to read the answer.

    To close with bytes unread resets the connection, and the client may lose what it was sent: a 413, say. So first the
    server says that nothing more will come, and reads on for a moment, into nowhere.
    """

    def __init__(self, transport: asyncio.Transport, still_sends: Callable[[], bool]) -> None:
        self._transport = transport
        self._still_sends = still_sends
        self._ends = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Say whether nothing can be sent any more."""
        return self._ends or self._transport.is_closing()

    def close(self) -> None:
        """Close, at once where the client has sent all it will."""
        if self.is_closing() or not self._still_sends():
            self._transport.close()
            return
        self._ends = True
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)


class Protocol(H11Protocol):
    """uvicorn's protocol, which by itself waits for ever for a head that is half sent, and refuses in plain text."""

    _overdue: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(_Unhurried(transport, self._still_sends))  # type: ignore[arg-type]
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; nothing of it is looked at once it has been refused."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, or for the rest of a body that no route reads any more."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser has just raised an error about; uvicorn calls this while it handles the error."""
        hint = getattr(sys.exception(), "error_status_hint", 400)
        self._refuse(hint if hint in _CODES else 400)

    def _still_sends(self) -> bool:
        return self._refused or self.conn.their_state is h11.SEND_BODY

    def _watch(self) -> None:
        done = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        unread = self.conn.their_state is h11.SEND_BODY and self.conn.our_state in done
        if not self.transport.is_closing() and (self.conn.their_state is h11.IDLE or unread):
            self._overdue = self._overdue or self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)
        else:
            self._wait_no_longer()

    def _wait_no_longer(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _give_up(self) -> None:
        half_sent = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        self._refuse(408) if half_sent else self.transport.close()

    def _refuse(self, status: int) -> None:
        """Answer, unless an answer has begun, and close."""
        self._refused = True
        self._wait_no_longer()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the route that reads this body has nobody to answer any more
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        request_id = f"req-{secrets.token_hex(12)}"
        answer = JSONResponse(
            failure_body(status, _MESSAGES[status], code=_CODES[status], request_id=request_id),
            status,
            {"x-request-id": request_id, "x-content-type-options": "nosniff", "connection": "close"},
        )
        reason = HTTPStatus(status).phrase.encode()
        head = h11.Response(status_code=status, headers=answer.raw_headers, reason=reason)
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
