"""Clients that do not read, over real sockets with small buffers: they keep no slot, and nobody waits for them."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from server.api.served import Phase
from server.app import create_app
from server.connections import Connections
from server.engine import stream
from server.errors import SlowReaderError
from server.serving import Server, bind
from tests.conftest import loaded
from tests.engine.driving import collect, params_of, running
from tests.fakes import FakeBackend, wait_until
from tests.server.test_disconnect import read_until, request_bytes

LONG = 100_000  # tokens: more than a test lives to see


class SteadyBackend(FakeBackend):
    """Takes a millisecond a token."""

    def decode(self, slots):
        time.sleep(0.001)
        return super().decode(slots)


@pytest.fixture
def live(settings):
    """Give a server whose sockets buffer little, and which waits a second for a client to read."""
    object.__setattr__(settings, "send_timeout_s", 1.0)
    backend = SteadyBackend(num_slots=2, max_length=2 * LONG)
    app = create_app(settings, load=lambda settings: {"fake": loaded(backend, queue_tokens=10 * LONG)})
    server = Server(app, drain_timeout_s=0.0)
    listener = bind("127.0.0.1", 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what is accepted inherits it
    server.port = listener.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started and app.state.phase is Phase.READY)
    server.engine = app.state.models["fake"].engine
    yield server
    server.should_exit = True
    thread.join()


@contextmanager
def connected(server, data, buffer=2048):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(10)
        client.connect(("127.0.0.1", server.port))
        client.sendall(data)
        yield client


def streaming(**body):
    return request_bytes(stream=True, max_tokens=LONG, logprobs=20, **body)


def test_a_client_that_never_reads_loses_its_slot_and_its_connection(live):
    with connected(live, streaming(n=2)):
        wait_until(lambda: live.engine.num_running == 2)
        wait_until(lambda: live.engine.num_running == 0, timeout_s=15)
        assert live.engine.counts.generated_tokens < LONG / 2
        wait_until(lambda: not live.server_state.connections)
    with connected(live, request_bytes(max_tokens=5), buffer=65536) as client:
        assert b"200 OK" in read_until(client, b'"timings"')


def test_others_are_answered_meanwhile(live):
    with connected(live, streaming()):
        wait_until(lambda: live.engine.num_running == 1)
        started_s = time.monotonic()
        for _ in range(3):
            with connected(live, request_bytes(max_tokens=50, stream=True), buffer=65536) as client:
                read_until(client, b"[DONE]")
        assert time.monotonic() - started_s < 5
        wait_until(lambda: live.engine.num_running == 0, timeout_s=15)


def test_a_client_that_reads_slowly_but_reads_keeps_its_stream(live):
    with connected(live, streaming()) as client:
        until_s = time.monotonic() + 3.5
        while time.monotonic() < until_s:
            assert client.recv(4096)
            time.sleep(0.1)
        assert live.engine.num_running == 1
    wait_until(lambda: live.engine.num_running == 0)


def test_a_consumer_that_falls_too_far_behind_loses_its_request(monkeypatch):
    monkeypatch.setattr(stream, "MOST_BEHIND", 1000)
    backend = FakeBackend(max_length=2 * LONG)

    async def scenario(engine):
        lagging = engine.submit([1], params_of(LONG), n=2)
        keeping_up = engine.submit([1], params_of(200))
        assert [reason for _, reason in await collect(keeping_up)] == ["length"]
        while engine.num_running:
            await asyncio.sleep(0.01)
        with pytest.raises(SlowReaderError):
            await collect(lagging)
        assert engine.counts.generated_tokens < LONG

    with running(backend) as engine:
        asyncio.run(scenario(engine))


class Line:
    """A connection that stands as it is told."""

    def __init__(self, pending):
        self.pending, self.aborted = pending, False
        self.transport = self

    def get_write_buffer_size(self):
        return self.pending

    def abort(self):
        self.aborted = True


def test_what_moves_is_kept_and_what_stands_still_is_closed():
    now = [0.0]
    watch = Connections(send_timeout_s=10.0, clock=lambda: now[0])
    stalled, reading, idle = Line(9), Line(100), Line(0)
    for second in range(40):
        now[0] = float(second)
        reading.pending += 7 if second % 8 else 0
        watch.sweep([line for line in (stalled, reading, idle) if not line.aborted])
        assert stalled.aborted == (second >= 10)
    assert not reading.aborted
    assert not idle.aborted
