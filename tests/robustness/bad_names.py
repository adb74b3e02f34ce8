"""Bad names in paths, bad queries, bad values of headers."""

from tests.robustness.case import ANY, Case
from tests.robustness.routes import quoted

NAMES = (
    "nothing", "..", ".", "../../etc/passwd", "/etc/passwd", "%2e%2e%2fetc", "a\0b", "\ud7ff", "é", "🦊", "x" * 3000,
    "a b", "' OR 1=1 --", "*", "%", "{id}", "<script>", "-1", "0", "file-" + "0" * 24, "cmp-nothing",
    "ft:" + "a" * 300 + ":x:00000000", "ftjob-nothing", "ft:tiny:x:0",
    "a\nb", "\\..\\..", "con", "file-../../../../etc", "job.db", "manifest.json/", "~root", "$HOME",
    "weights.safetensors\0.txt",
)  # fmt: skip
VALUES = (
    "", "0", "-1", "1e9", "1000000000", str(2**63), str(10**40), "NaN", "abc", " 1_0 ", "1.0", "true", "null", "\0",
    "é", "x" * 3000, "../../etc/passwd", "' OR 1=1 --", "%", "[]", "{}", "ftevent-1", "ftevent--1",
    "ftevent-" + "9" * 30, "ftevent-²",
)  # fmt: skip
HEADER_VALUES = (
    "",
    "0",
    "-1",
    "abc",
    "1" * 30,
    "²",
    "x" * 300,
    "\xff\xfe",
    "1, 2",
    "\t",
    "'; DROP TABLE jobs; --",
    "%00",
    "1e5",
)
HEADERS = (
    "Last-Event-ID", "Idempotency-Key", "X-Request-Id", "Authorization", "Accept", "Range", "If-None-Match", "Cookie",
    "Origin", "X-Forwarded-For", "X-HTTP-Method-Override", "Accept-Encoding", "Content-Language",
)  # fmt: skip


def bad_names(route, ids):
    """Give every bad name in a route's path, every bad value in its query, and every bad header."""
    for parameter in route.names:
        for name in NAMES:
            data = route.request({**ids, parameter: quoted(name)})
            yield Case(f"{route}: {parameter} {name[:30]!r}", data, frozenset({400, 404, 405, 409, 431}))
    for parameter in route.query:
        for value in VALUES:
            data = route.request(ids, query=f"?{parameter}={quoted(value)}")
            yield Case(f"{route}: ?{parameter}={value[:30]!r}", data, ANY)
        twice = route.request(ids, query=f"?{parameter}=1&{parameter}=2&{parameter}[]=3")
        yield Case(f"{route}: {parameter} twice", twice, ANY)
    for header in HEADERS:
        for value in HEADER_VALUES:
            yield Case(f"{route}: {header}: {value[:30]!r}", route.request(ids, f"{header}: {value}"), ANY)
