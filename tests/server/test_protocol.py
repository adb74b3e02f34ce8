"""Connections: who dawdles is let go, who speaks no HTTP is told so, and other sites' pages get nowhere."""

import time

import pytest

import server.protocol
from server.request_head import MAX_HEAD_BYTES
from tests.conftest import loaded
from tests.fakes import FakeBackend
from tests.robustness.wire import Refused, as_json, connection, read, request_bytes, send
from tests.server.live import serving

BODY = b'{"prompt": "a", "max_tokens": 1}'
POST = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
def port(settings, monkeypatch):
    monkeypatch.setattr(server.protocol, "HEAD_TIMEOUT_S", 0.3)
    with serving(settings, lambda settings: {"fake": loaded(FakeBackend())}) as address:
        yield int(address.rpartition(":")[2])


def require_refusal(answer, status, code):
    assert answer.status == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert error["code"] == code
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


@pytest.mark.parametrize("head", [b"G", b"GET /version HTTP/1.1\r\n", POST])
def test_half_a_head_is_a_408_when_its_time_is_up(port, head):
    answer = send(port, head)
    require_refusal(answer, 408, "request_timeout")
    assert 0.2 < answer.seconds < 3
    assert answer.closed


def test_a_connection_that_says_nothing_is_closed_without_a_word(port):
    with connection(port) as opened, pytest.raises(Refused, match="without an answer"):
        read(opened)


def test_dripping_a_head_does_not_prolong_it(port):
    answer = send(port, [piece for letter in POST for piece in (bytes([letter]), None)])
    require_refusal(answer, 408, "request_timeout")


def test_a_body_that_a_route_reads_has_its_own_time(port):
    """The wait for a head is over when the head is there: twice its limit later the body is still welcome."""
    with connection(port) as opened:
        opened.sendall(POST + f"Content-Length: {len(BODY)}\r\n\r\n".encode())
        time.sleep(0.6)
        opened.sendall(BODY)
        assert read(opened).status == 200


def test_the_rest_of_a_body_that_nobody_reads_is_not_awaited_for_ever(port):
    with connection(port) as opened:
        opened.sendall(b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert read(opened).status == 405
        with pytest.raises(OSError):  # noqa: PT011 - reset, or a broken pipe
            drip(opened, 5.0)


def drip(opened, seconds):
    started_s = time.monotonic()
    while time.monotonic() < started_s + seconds:
        opened.sendall(b"x")
        time.sleep(0.02)


def test_a_stream_takes_the_time_it_takes(settings, monkeypatch):
    monkeypatch.setattr(server.protocol, "HEAD_TIMEOUT_S", 0.1)
    backend = FakeBackend(gated=True)
    with (
        serving(settings, lambda settings: {"fake": loaded(backend)}) as address,
        connection(int(address.rpartition(":")[2])) as opened,
    ):
        opened.sendall(as_json("POST", "/generate", {"prompt": "a", "max_tokens": 3, "stream": True}))
        for _ in range(3):
            time.sleep(0.15)
            backend.allow()
        answer = read(opened)
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_a_connection_serves_many_requests_one_after_another_and_at_once(port):
    good = as_json("POST", "/generate", BODY)
    with connection(port) as opened:
        for _ in range(3):
            opened.sendall(good)
            assert read(opened).status == 200
        opened.sendall(good * 5)
        data = b""
        while data.count(b"HTTP/1.1 200") < 5:
            data += opened.recv(2**16)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GARBAGE\r\n\r\n", 400, "invalid_request"),
        (b"GET /version HTTP/1.1\r\n\r\n", 400, "invalid_request"),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 400, "invalid_request"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "invalid_request"),
        (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid_request"),
        (b"GET /version HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 3_000_000, 431, "head_too_large"),
        (b"GET /version HTTP/1.1\r\nHost: x\r\nA: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 431, "head_too_large"),
        (b"GET /version?" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "head_too_large"),
    ],
)
def test_what_is_no_request_is_refused_in_the_one_shape(port, data, status, code):
    error = require_refusal(send(port, data), status, code)
    assert "aaa" not in error["message"]


def test_a_websocket_is_not_opened(port):
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
    assert send(port, request_bytes("GET", "/version", b"", *upgrade)).status == 200


FOREIGN = [
    ("Origin: https://evil.example",),
    ("Origin: null",),
    ("Origin: http://localhost:9",),
    ("Origin: http://[",),
    ("Sec-Fetch-Site: cross-site", "Origin: http://localhost"),
    ("Sec-Fetch-Site: same-site",),
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_sites_page_changes_nothing(port, headers):
    for method, path in (("POST", "/generate"), ("POST", "/v1/files"), ("DELETE", "/v1/files/x")):
        answer = send(port, as_json(method, path, BODY, *headers))
        require_refusal(answer, 403, "forbidden")


@pytest.mark.parametrize(
    "headers", [("Origin: http://localhost",), ("Sec-Fetch-Site: same-origin",), ("Sec-Fetch-Site: none",)]
)
def test_the_servers_own_page_and_other_clients_pass(port, headers):
    assert send(port, as_json("POST", "/generate", BODY, *headers)).status == 200


@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions", "/version", "/nothing"])
def test_no_origin_is_let_in(port, path):
    """A browser asks first whether a page may send JSON elsewhere; without a yes it does not send."""
    wish = ("Origin: https://evil.example", "Access-Control-Request-Method: POST")
    for method in ("OPTIONS", "GET", "POST"):
        answer = send(port, request_bytes(method, path, b"", *wish), method=method)
        assert not [name for name in answer.headers if name.startswith("access-control")]


PUBLIC = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example:80",
    "localhost.",
    "1.2.3",
]


@pytest.mark.parametrize("host", PUBLIC)
def test_a_name_that_somebody_made_mean_this_machine_is_not_answered_to(port, host):
    for method, path in (("GET", "/v1/files"), ("POST", "/generate"), ("GET", "/")):
        data = as_json(method, path, BODY).replace(b"Host: localhost", f"Host: {host}".encode())
        require_refusal(send(port, data), 421, "misdirected")


@pytest.mark.parametrize(
    "host", ["localhost:9", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "a.localhost", "box", "10.0.0.7"]
)
def test_addresses_and_names_of_this_machine_are(port, host):
    data = as_json("GET", "/version", BODY).replace(b"Host: localhost", f"Host: {host}".encode())
    assert send(port, data).status == 200


@pytest.mark.parametrize("given", [{"insecure": True}, {"api_keys_file": "keys"}])
def test_a_server_for_others_answers_to_any_name(settings, tmp_path, given):
    (tmp_path / "keys").write_text("sk-0123456789abcdef")
    given = {name: tmp_path / value if name == "api_keys_file" else value for name, value in given.items()}
    with serving(settings.model_copy(update=given), lambda settings: {"fake": loaded(FakeBackend())}) as address:
        data = request_bytes("GET", "/version").replace(b"localhost", b"kelvin.example")
        assert send(int(address.rpartition(":")[2]), data).status in (200, 401)


def test_who_sends_a_body_that_is_too_large_to_its_end_reads_why_it_was_refused(port, settings):
    """The server reads on for a moment: to close with bytes unread would reset the connection, and its answer."""
    body = b" " * (500 * settings.max_body_bytes)
    for _ in range(5):
        with connection(port) as opened:
            opened.sendall(POST + f"Content-Length: {len(body)}\r\n\r\n".encode())
            opened.sendall(body)
            time.sleep(0.05)
            answer = read(opened)
        require_refusal(answer, 413, "body_too_large")
        assert answer.closed
