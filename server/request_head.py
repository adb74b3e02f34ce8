"""Request heads: those that are too long, can be read in two ways, ask for parts, or that another site has sent."""

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.failures import failure_body

MAX_HEAD_BYTES = 32 * 1024
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_TOO_LONG = f"the path and the headers have more than {MAX_HEAD_BYTES} bytes; send fewer and shorter ones"
_AMBIGUOUS = "Content-Length and Transfer-Encoding contradict each other; send one of them"
_ELSEWHERE = (
    "the Host is a name of the public DNS, and this server is for its own machine; address it as localhost, give it "
    "keys, or start it with --insecure"
)
_FOREIGN = "a page of another site has sent this, and no other site may; use the server's own page, or no browser"


class HeadLimit:
    """Refuses a head that is too long, and one whose body two servers would end in two places."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 431 or 400."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        num_bytes = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if num_bytes + sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEAD_BYTES:
            await _refuse(scope, receive, send, 431, _TOO_LONG, code="head_too_large")
        elif "content-length" in headers and "transfer-encoding" in headers:
            await _refuse(scope, receive, send, 400, _AMBIGUOUS, code="invalid_request")
        else:
            await self._app(scope, receive, send)


class WholeFiles:
    """Has every file sent whole: a `Range` may be ignored, says HTTP, and with it goes all that can be wrong in one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without its `Range`, and an answer without the promise of any."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_whole(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "accept-ranges" in headers:
                    headers["accept-ranges"] = "none"
            await send(message)

        # In the scope itself and not in a copy: whoever comes before reads there which route it was.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in (b"range", b"if-range")]
        await self._app(scope, receive, send_whole)


class SameOrigin:
    """Refuses what a browser sends on behalf of another site's page; such a page could act in its visitor's name.

    A browser says for whom it asks, and a page cannot make it lie. Whatever is no browser says nothing, and passes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on that only reads, or is no other site's; or answer 403."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS and _is_foreign(Headers(scope=scope)):
            await _refuse(scope, receive, send, 403, _FOREIGN, code="forbidden")
        else:
            await self._app(scope, receive, send)


class OwnHost:
    """Refuses what is addressed to a name of the public DNS, on a server that asks for no key and is for this machine.

    Such a name may belong to somebody whose page a browser here has open, and who has made it mean this machine: to the
    browser the page and this server are then one site. An address, `localhost` and a name without a dot are none such.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 421."""
        if scope["type"] == "http" and _is_public(Headers(scope=scope).get("host", "")):
            await _refuse(scope, receive, send, 421, _ELSEWHERE, code="misdirected")
        else:
            await self._app(scope, receive, send)


def _is_public(host: str) -> bool:
    name = host.rpartition(":")[0] if re.search(r":[0-9]*$", host) else host
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return "." in name and not name.lower().endswith(".localhost")
    return False


def _is_foreign(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")  # none: the reader's own doing
    origin = headers.get("origin")
    return origin is not None and _host_of(origin) != headers.get("host")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, message: str, *, code: str) -> None:
    state = scope["state"]
    state["facts"]["error"] = code
    body = failure_body(status, message, code=code, request_id=state["request_id"])
    await JSONResponse(body, status, {"connection": "close"})(scope, receive, send)
