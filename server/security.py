"""Security: what every request passes through before a route sees it. Pure ASGI: nothing here buffers a body.

Starlette's BaseHTTPMiddleware hides a client's leaving from the routes behind it, so none is used anywhere.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.failures import failure_body
from server.keys import ApiKeys, digest_of

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTENT_LENGTH = re.compile(r"[0-9]{1,19}")
# Styles of the documentation page are in the page itself; scripts and everything else come from this server alone.
_SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_BASIC = 'Basic realm="Kelvin: the key is the password, any name will do", charset="UTF-8"'
_BEARER = 'Bearer realm="Kelvin"'
_NO_KEY = "this server asks for a key, and this is none of its keys; send one as Authorization: Bearer KEY"


class RequestId:
    """Names every request: the client's `X-Request-Id` where it is harmless, else a new one; the answer repeats it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the name into `scope["state"]["request_id"]`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        await self._app(scope, receive, _adding(send, {"x-request-id": request_id}))


class SecurityHeaders:
    """Tells browsers to load nothing from elsewhere, to guess no type, and to show the pages in no frame."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to every answer."""
        await self._app(scope, receive, _adding(send, _SECURITY_HEADERS) if scope["type"] == "http" else send)


class RequireKey:
    """Asks every request for a key, whatever its route, but those that tell nothing of models, users or their work.

    Open are whether the process works, and the page with its scripts: a browser that opens it cannot send a key, and
    the page sends the one that is typed in with all that it asks.
    """

    OPEN_PATHS = ("/health/live", "/")
    OPEN_FOLDER = "/web/"

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        """Wrap an application.

        Args:
            app: the application, which never sees a request without a key.
            keys: those that open it.
        """
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its key's digest in `scope["state"]["owner"]`, or answer 401."""
        if scope["type"] == "lifespan" or self._is_open(scope["path"]) or self._opened(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            scope["state"]["facts"]["error"] = "unauthorized"
            body = failure_body(401, _NO_KEY, code="unauthorized", request_id=scope["state"]["request_id"])
            await JSONResponse(body, 401, {"www-authenticate": _challenge(scope)})(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _is_open(self, path: str) -> bool:
        return path in self.OPEN_PATHS or path.startswith(self.OPEN_FOLDER)

    def _opened(self, scope: Scope) -> bool:
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        sent = given.strip().encode("latin-1")
        key = {"bearer": sent, "basic": _password(sent)}.get(scheme.lower(), b"")
        scope.setdefault("state", {})["owner"] = digest_of(key)
        return self._keys.opens(key)


def _challenge(scope: Scope) -> str:
    """Return what a client is asked for: a browser that wants a page can ask its reader for a password and no more."""
    return _BASIC if "text/html" in Headers(scope=scope).get("accept", "") else _BEARER


def _password(given: bytes) -> bytes:
    """Return what stands for a key in a browser's credentials, whatever the name before it; empty if it is nothing."""
    try:
        return base64.b64decode(given, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


class BodyLimit:
    """Refuses a body that is too large, by its announced length or, where it is sent in chunks, as soon as it is."""

    def __init__(self, app: ASGIApp, max_bytes: int, by_path: Mapping[str, int] | None = None) -> None:
        """Wrap an application.

        Args:
            app: the application; its reading of the body raises the HTTPException.
            max_bytes: bytes of a body at most.
            by_path: the same for routes that take more or less, by their paths; None: no route does.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._by_path = dict(by_path or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body's bytes while they are read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        max_bytes = self._by_path.get(scope["path"], self._max_bytes)
        num_bytes = 0

        async def counted() -> Message:
            nonlocal num_bytes
            _check(announced, max_bytes)
            message = await receive()
            num_bytes += len(message.get("body", b""))
            _check(str(num_bytes), max_bytes)
            return message

        await self._app(scope, counted, send)


def _check(length: str, max_bytes: int) -> None:
    if not _CONTENT_LENGTH.fullmatch(length):
        raise HTTPException(400, "the Content-Length is not a number of bytes; send the body's true length")
    if int(length) > max_bytes:
        raise HTTPException(
            413, f"the body has more than the {max_bytes} bytes that this server takes; send a shorter one"
        )


def _adding(send: Send, headers: dict[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = MutableHeaders(scope=message)
            for name, value in headers.items():
                given.setdefault(name, value)  # a page may have a policy of its own
        await send(message)

    return send_with_headers
