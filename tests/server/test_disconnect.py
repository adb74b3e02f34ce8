"""What a client's leaving does, over a real socket: its slots are free within a step, whatever it waited for."""

import json
import socket
import threading
from contextlib import contextmanager

import pytest
import uvicorn

from server.app import create_app
from tests.conftest import loaded
from tests.fakes import FakeBackend, wait_until


def request_bytes(path="/generate", **body):
    data = json.dumps({"prompt": "hello"} | body).encode()
    return head(path, f"Content-Length: {len(data)}") + data


def head(path, *headers):
    lines = (f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers)
    return "\r\n".join((*lines, "", "")).encode()


class Server:
    """A real server on a free port, over a backend of one slot that decodes when it is allowed to."""

    def __init__(self, settings):
        self.backend = FakeBackend(num_slots=1, gated=True)
        app = create_app(settings, load=lambda settings: {"fake": loaded(self.backend)})
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wait_until(lambda: self._server.started and app.state.models)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]
        self.engine = app.state.models["fake"].engine

    def stop(self):
        self.backend.allow(1000)
        self._server.should_exit = True
        self._thread.join()

    def finish_step(self, *, after):
        """Let the step that waits end, once the engine has this many submissions and cancellations before it."""
        wait_until(lambda: len(self.engine._inbox) >= after)
        self.backend.allow()

    @contextmanager
    def sending(self, data):
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
            connection.sendall(data)
            yield connection


@pytest.fixture
def server(settings):
    server = Server(settings)
    yield server
    server.stop()


def read_until(connection, text):
    data = b""
    while text not in data:
        received = connection.recv(65536)
        assert received, data
        data += received
    return data


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_while_tokens_are_drawn_frees_the_slot(server, stream):
    with server.sending(request_bytes(stream=stream)) as connection:
        server.backend.allow(3)
        wait_until(lambda: server.backend.count("decode") == 3)
        if stream:
            read_until(connection, b"data: ")
    server.finish_step(after=1)
    wait_until(lambda: server.engine.num_running == 0)
    assert server.backend.count("decode") == 4


@pytest.mark.parametrize(("path", "body"), [("/generate", {"stream": True}), ("/generate", {}), ("/distribution", {})])
def test_leaving_while_waiting_for_a_slot_gives_the_place_back(server, path, body):
    with server.sending(request_bytes()):
        wait_until(lambda: server.engine.num_running == 1)
        with server.sending(request_bytes(path, **body)):
            wait_until(lambda: server.engine.num_waiting == 1)
        server.finish_step(after=2)
        wait_until(lambda: server.engine.num_waiting == 0)
    assert server.backend.count("admit") == 1


def test_leaving_frees_all_samples_of_all_prompts(server):
    with server.sending(request_bytes(prompt=["one", "two", "three"], n=2, stream=True)) as connection:
        server.backend.allow()
        read_until(connection, b"data: ")
    server.finish_step(after=6)
    wait_until(lambda: server.engine.num_running == server.engine.num_waiting == 0)


def test_leaving_in_the_middle_of_the_body_harms_nobody(server):
    with server.sending(head("/generate", "Content-Length: 100") + b"{"):
        pass
    server.backend.allow(2)
    with server.sending(request_bytes(max_tokens=2)) as connection:
        assert b"200 OK" in read_until(connection, b'"timings"')


def test_a_connection_stays_open_between_answers(server):
    server.backend.allow(4)
    with server.sending(request_bytes(max_tokens=3)) as connection:
        assert b"200 OK" in read_until(connection, b'"decode_s"')
        connection.sendall(request_bytes(max_tokens=1, stream=True))
        assert b"200 OK" in read_until(connection, b"[DONE]")


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(server, settings):
    length = f"Content-Length: {settings.max_body_bytes + 1}"
    with server.sending(head("/generate", length, "Expect: 100-continue")) as connection:
        answer = read_until(connection, b"request_id")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer


def test_a_body_in_chunks_is_refused_as_soon_as_it_is_too_large(server, settings):
    with server.sending(head("/generate", "Transfer-Encoding: chunked")) as connection:
        for _ in range(settings.max_body_bytes // 0x1000 + 1):
            connection.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        assert read_until(connection, b"request_id").startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_arrive_is_given_up(server, monkeypatch):
    monkeypatch.setattr("server.api.body.BODY_TIMEOUT_S", 0.1)
    with server.sending(head("/generate", "Content-Length: 100") + b"{") as connection:
        answer = read_until(connection, b"request_id")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer
