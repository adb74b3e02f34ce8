"""HTTP as bytes on a socket: what a client library would refuse to send can be sent, and every wait has an end."""

import json
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import h11

PATIENCE_S = 20.0  # no answer within this is a hang


class Refused(Exception):  # noqa: N818 - what happened, not whose fault
    """No whole answer came: the server closed the connection, or took too long."""


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float
    closed: bool = field(default=False)

    def json(self):
        """Parse the body as strictly as a JSON parser can: NaN and Infinity are none."""
        return json.loads(self.body, parse_constant=_not_json)


def _not_json(name):
    raise ValueError(f"{name} is not JSON")


def request_bytes(method, path, body=b"", *headers):
    """Write a request.

    Args:
        method: of HTTP.
        path: with its query, already quoted.
        body: its bytes; the length is announced where there are any.
        headers: more lines of the head, without their ends.
    """
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def as_json(method, path, value, *headers):
    """Write a request with a JSON body; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return request_bytes(method, path, body, "Content-Type: application/json", *headers)


@contextmanager
def connection(port, patience_s=PATIENCE_S):
    """Open a connection to 127.0.0.1."""
    try:
        opened = socket.create_connection(("127.0.0.1", port), timeout=patience_s)
    except OSError as error:
        raise Refused(str(error)) from None
    with opened:
        yield opened


def send(port, data, *, method="GET", patience_s=PATIENCE_S):
    """Send bytes on a new connection and read one response.

    Args:
        port: of the server.
        data: of the request, or pieces of them; None between two pieces waits a moment.
        method: that the bytes ask by, for HEAD has no body.
        patience_s: for the whole.

    Raises:
        Refused: no whole response came.
    """
    with connection(port, patience_s) as opened:
        for piece in [data] if isinstance(data, bytes) else data:
            if piece is None:
                time.sleep(0.02)
                continue
            try:
                opened.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break  # it was refused before it was whole; the answer may be there
            except TimeoutError:
                raise Refused("the server reads nothing and says nothing") from None
        return read(opened, method=method, patience_s=patience_s)


class Client:
    """A client that keeps its connection while the server does."""

    def __init__(self, port):
        self._port = port
        self._socket = None

    def send(self, data, *, method="GET", patience_s=PATIENCE_S):
        """Send a request and read its response; a connection that the server has closed is opened again."""
        for fresh in (self._socket is None, True):
            if fresh:
                self.close()
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=patience_s)
            try:
                self._socket.sendall(data)
                answer = read(self._socket, method=method, patience_s=patience_s)
            except (Refused, ConnectionError):
                self.close()
                if fresh:
                    raise
                continue
            if answer.closed:
                self.close()
            return answer
        raise AssertionError("unreachable")

    def close(self):
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def read(opened, *, method="GET", patience_s=PATIENCE_S):
    """Read one response.

    Raises:
        Refused: it does not come whole, is no HTTP, or takes too long.
    """
    started_s = time.monotonic()
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())
    response, body = None, []
    try:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                left_s = started_s + patience_s - time.monotonic()
                if left_s <= 0:
                    raise Refused(f"no whole answer within {patience_s} s")
                opened.settimeout(left_s)
                data = opened.recv(2**16)
                if not data and response is None:
                    raise Refused("the connection was closed without an answer")
                parser.receive_data(data)
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                break
    except TimeoutError:
        raise Refused(f"no whole answer within {patience_s} s") from None
    except ConnectionResetError:
        raise Refused("the connection was reset") from None
    except h11.RemoteProtocolError as error:
        raise Refused(str(error)) from None
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in response.headers}
    closed = parser.their_state in (h11.MUST_CLOSE, h11.CLOSED) or headers.get("connection") == "close"
    return Answer(response.status_code, headers, b"".join(body), time.monotonic() - started_s, closed)
