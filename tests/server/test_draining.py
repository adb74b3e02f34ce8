"""SIGTERM to a real process: unready first, nobody's answer lost, success at the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import httpx2
import pytest

from server.settings import Settings
from tests.fakes import wait_until


@contextmanager
def process(tmp_path, drain_timeout_s):
    """Give a server's process and its address."""
    command = [sys.executable, "-m", "tests.server.server_that_drains", str(drain_timeout_s), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            yield server, f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def asking(address, max_tokens):
    """Ask for an answer as a whole and for another as a stream, wait until both run, and give what they will be."""
    answers = [[], []]

    def ask(stream):
        body = {"prompt": "a", "max_tokens": max_tokens, "stream": stream}
        answers[stream].append(httpx2.post(f"{address}/generate", json=body, timeout=30))

    threads = [threading.Thread(target=ask, args=[stream]) for stream in (False, True)]
    for thread in threads:
        thread.start()
    running = 'kelvin_num_requests_running{model_name="fake"} 2.0'
    wait_until(lambda: running in httpx2.get(f"{address}/metrics").text)

    def finish():
        for thread in threads:
            thread.join()
        return answers[False][0], answers[True][0]

    return finish


def test_an_idle_server_ends_at_once_and_well(tmp_path):
    with process(tmp_path, 20) as (server, _):
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=5) == 0


def test_what_runs_is_finished_while_new_requests_are_refused(tmp_path):
    with process(tmp_path, 20) as (server, address):
        finish = asking(address, max_tokens=100)
        server.send_signal(signal.SIGTERM)
        with httpx2.Client(base_url=address) as client:
            wait_until(lambda: client.get("/health/ready").status_code == 503)
            refused = client.post("/generate", json={"prompt": "b"})
            assert refused.status_code == 503
            assert "retry-after" in refused.headers
            assert client.get("/health/live").status_code == 200
        whole, stream = finish()
        assert server.wait(timeout=5) == 0
    assert whole.json()["usage"]["completion_tokens"] == 100
    assert stream.text.endswith("data: [DONE]\n\n")


def test_what_takes_too_long_is_told_and_the_server_ends_well(tmp_path):
    with process(tmp_path, 0.3) as (server, address):
        finish = asking(address, max_tokens=4000)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=10) == 0
        whole, stream = finish()
    last = stream.text.removesuffix("\n\n").split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "unavailable"
    assert whole.status_code == 503
    assert whole.json()["error"]["code"] == "unavailable"


def test_a_second_signal_ends_it_at_once(tmp_path):
    with process(tmp_path, 60) as (server, address):

        def ask():
            with suppress(httpx2.TransportError):
                httpx2.post(f"{address}/generate", json={"prompt": "a", "max_tokens": 4000}, timeout=30)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.poll() is None
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=5)
        thread.join()


@pytest.mark.model
def test_a_server_whose_step_is_being_compiled_ends_well(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "server", "serve", "--port", str(port), "--slots", "2"]
    env = os.environ | {"KELVIN_DATA_DIR": str(tmp_path), "KELVIN_MODELS_DIR": str(Settings().models_dir)}
    log = tmp_path / "log"
    with log.open("wb") as output, subprocess.Popen(command, env=env, stderr=output) as server:
        try:
            wait_until(lambda: b'"ready' in log.read_bytes(), timeout_s=120)
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=20) == 0, log.read_text()
        finally:
            server.kill()
