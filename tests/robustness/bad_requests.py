"""Bad HTTP: methods, heads, lengths, codings and broken connections, on every route."""

import json

from tests.robustness.case import ANY, Case
from tests.robustness.live_server import MAX_BODY_BYTES, MAX_FILE_BYTES
from tests.robustness.routes import form
from tests.robustness.wire import request_bytes

REFUSED = frozenset({400, 413, 415, 431})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get")
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
TYPES = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/jsonp",
    "text/json",
    "*/*",
    "",
    "application/json\x0b",
)

# Heads whose bytes are no HTTP, or one that two servers would read in two ways.
HEADS = {
    "garbage": b"GARBAGE\r\n\r\n", "nuls": b"\0" * 100 + b"\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http/0.9": b"GET /version\r\n\r\n", "http/9": b"GET /version HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"GET /version HTTP/1.1\r\n\r\n", "two hosts": b"GET /version HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "space before the colon": b"GET /version HTTP/1.1\r\nHost : x\r\n\r\n",
    "no colon": b"GET /version HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n",
    "nul in a value": b"GET /version HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "bare cr": b"GET /version HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
    "empty name": b"GET /version HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
    "two spaces": b"GET  /version HTTP/1.1\r\nHost: x\r\n\r\n",
    "utf-8 in the path": "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(), "no path": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "one long header": b"GET /version HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
    "4000 headers": b"GET /version HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 4000 + b"\r\n",
    "a long path": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long query": b"GET /version?" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "endless header": b"GET /version HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 2_000_000,
}  # fmt: skip
PATHS = (
    "/nothing", "//", "//generate", "/generate/", "/v1/../generate", "/v1/%2e%2e/generate", "/%00", "/generate%00",
    "/%ff%fe", "/%ed%a0%80", "/%0d%0aSet-Cookie:%20a=b", "/..%2f..%2fetc%2fpasswd", "/static/../../etc/passwd", "*",
    "http://x/generate", "/generate;a=b", "/GENERATE", "/generate?%00=%ff", "/" + "a/" * 2000,
    "/v1/models/..%2f..%2ftiny", "/?" + "a=b&" * 2000,
)  # fmt: skip


def heads():
    """Give requests that no route sees."""
    for name, data in HEADS.items():
        yield Case(f"head: {name}", data, ANY)
    for path in PATHS:
        yield Case(f"path: {path[:40]}", request_bytes("POST", path, b"{}", JSON), frozenset({400, 404, 405, 431}))
    for host in ("a/?x=", "a/health/live?", "[::1", "a b", "x" * 5000, "\xff", "evil.example:99999"):
        yield Case(f"host: {host[:20]}", f"GET /version HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"), ANY)
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    for path in ("/generate", "/docs", "/nothing"):
        yield Case(
            f"websocket: {path}", request_bytes("GET", path, b"", *upgrade), frozenset({200, 400, 404, 405, 426})
        )


def bad_requests(route, ids, allowed):
    """Give every way to say a route's request that is no way to say it.

    Args:
        route: the route.
        ids: for the names in its path.
        allowed: all methods that its path takes.
    """
    path = route.at(ids)
    for method in METHODS:
        if method not in allowed and not (method == "HEAD" and "GET" in allowed):
            yield Case(f"{path}: {method}", request_bytes(method, path), frozenset({400, 405}), method=method)
    if route.method != "POST":
        yield Case(f"{route}: a body", request_bytes(route.method, path, b"x" * 1000), ANY)
    yield from _framing(route, path)
    if route.schema is not None or route.form:
        yield from _codings(route, ids, path)
        yield from _lengths(route, path)


def _framing(route, path):
    start = f"{route.method} {path} HTTP/1.1\r\nHost: x\r\n{JSON}\r\n".encode()
    for length in ("-1", "abc", "1e3", "0x10", "+5", "1 2", "5, 6", "9" * 30, "\xb2"):
        line = f"Content-Length: {length}\r\n\r\n".encode("latin-1")
        yield Case(f"{route}: Content-Length {length[:9]}", start + line + b"{}", frozenset({400, 413}))
    for name, lines, data in (
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n", b"{}"),
        ("length and chunks", f"Content-Length: 2\r\n{CHUNKED}\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        ("an unknown coding", "Transfer-Encoding: gzip, chunked\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        ("identity", "Transfer-Encoding: identity\r\n\r\n", b"{}"),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    ):
        yield Case(f"{route}: {name}", start + lines.encode() + data, REFUSED)
    head = start + CHUNKED.encode() + b"\r\n\r\n"
    for name, data in (
        ("a chunk of no length", b"xyz\r\n{}\r\n0\r\n\r\n"),
        ("a negative chunk", b"-2\r\n{}\r\n0\r\n\r\n"),
        ("a chunk of 2**70 bytes", b"400000000000000000\r\n{}"),
        ("a chunk that is longer than it says", b"1\r\n{}\r\n0\r\n\r\n"),
        ("an endless chunk extension", b"2;" + b"x" * 100_000),
    ):  # a route that reads no body may have answered before the chunk was seen
        yield Case(f"{route}: {name}", head + data, ANY, silence=True)


def _codings(route, ids, path):
    for coding in ("gzip", "identity", "br", ""):
        yield Case(
            f"{route}: Content-Encoding {coding}", route.request(ids, f"Content-Encoding: {coding}"), frozenset({415})
        )
    for kind in TYPES:
        yield Case(
            f"{route}: type {kind!r}",
            request_bytes("POST", path, b"{}", f"Content-Type: {kind}"),
            frozenset({400, 415}),
        )
    yield Case(f"{route}: no type", request_bytes("POST", path, b"{}"), frozenset({415}))
    if route.schema is not None:
        kind = "Content-Type: multipart/form-data; boundary=x"
        yield Case(f"{route}: a form", request_bytes("POST", path, form(b"{}"), kind), frozenset({415}))
    kind = JSON if route.schema is not None else "Content-Type: multipart/form-data; boundary=x"
    whole = json.dumps(route.body).encode() if route.schema is not None else form(b'{"text": "a", "label": "b"}')
    for name, part in (("half of it", whole[: len(whole) // 2]), ("nothing of it", b"")):
        data = request_bytes("POST", path, b"", kind).replace(
            b"Content-Length: 0", f"Content-Length: {len(whole)}".encode()
        )
        yield Case(f"{route}: {name}, then silence", [data + part, "end"], frozenset(), silence=True)


def _lengths(route, path):
    most = MAX_BODY_BYTES if route.schema is not None else MAX_FILE_BYTES + 2**16
    kind = JSON if route.schema is not None else "Content-Type: multipart/form-data; boundary=x"
    too_large = frozenset({413})
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{kind}\r\n"
    for length in (most + 1, 2**31, 2**63):
        announced = f"{head}Content-Length: {length}\r\n\r\n".encode()
        yield Case(f"{route}: {length} bytes announced, none sent", announced, too_large)
        waiting = f"{head}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode()
        yield Case(f"{route}: {length} bytes to be waited for", waiting, too_large)
    head = f"{head}{CHUNKED}\r\n\r\n".encode()
    filler = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' if route.form else b" "
    first = f"{len(filler):x}\r\n".encode() + filler + b"\r\n"
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    yield Case(f"{route}: too many bytes in chunks", [head, first, *[chunk] * 40], too_large)
    drops = b"1\r\n \r\n" * (2**14)
    yield Case(f"{route}: too many bytes, one a chunk", [head, first, *[drops] * (1 + most // 2**14)], too_large)
