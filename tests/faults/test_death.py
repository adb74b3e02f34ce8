"""An engine that dies: who waits hears of it within a second, liveness says so, and the process ends with a failure."""

import json
import subprocess
import sys
import threading
import time
from contextlib import suppress

import httpx2

from tests.fakes import wait_until
from tests.finetuning.conftest import free_port


def test_a_dead_engine_is_told_at_once_and_ends_the_process_with_1(tmp_path):
    port = free_port()
    address, answers, lived = f"http://127.0.0.1:{port}", {}, []
    command = [sys.executable, "-m", "tests.faults.server_that_breaks", str(port), str(tmp_path)]

    def ask(name, **body):
        answer = httpx2.post(f"{address}/generate", json={"max_tokens": 3000} | body, timeout=30)
        answers[name] = answer, time.monotonic()

    def watch():
        with httpx2.Client(base_url=address) as client, suppress(httpx2.TransportError):
            while True:
                lived.append(client.get("/health/live").status_code)
                time.sleep(0.01)

    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server, httpx2.Client(base_url=address) as client:
        try:
            wait_until(lambda: ready(client), timeout_s=60, every_s=0.05)
            waiting = []
            for name, slots, body in (
                ("whole", 1, {"prompt": "a"}),
                ("stream", 2, {"prompt": "b", "stream": True}),
                ("queued", 4, {"prompt": "c", "n": 8}),
            ):
                waiting.append(threading.Thread(target=ask, args=[name], kwargs=body))
                waiting[-1].start()
                running = f'kelvin_num_requests_running{{model_name="fake"}} {slots}.0'
                wait_until(lambda running=running: running in client.get("/metrics").text, every_s=0.05)
            watcher = threading.Thread(target=watch)
            watcher.start()
            wait_until(lambda: lived)
            died_s = time.monotonic()
            (tmp_path / "die").touch()
            for thread in [*waiting, watcher]:
                thread.join()
            assert server.wait(timeout=10) == 1
        finally:
            server.kill()
    for name, (answer, at_s) in answers.items():
        assert at_s - died_s < 1.0, name
        body = json.loads(answer.text.removesuffix("\n\n").split("\n\n")[-1].removeprefix("data: "))
        assert body["error"]["code"] == "unavailable", name
        assert answer.status_code == (200 if name == "stream" else 503)
    assert lived[0] == 200
    assert lived[-1] == 503


def ready(client):
    with suppress(httpx2.TransportError):
        return client.get("/health/ready").status_code == 200
    return False
