"""Servers on loopback, and OpenAI's own client for them."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
import uvicorn
from openai import OpenAI

import server.app
import server.work
from server.settings import Settings
from tests.fakes import wait_until
from tests.finetuning.serving import create_app

ROOT = Path(__file__).parents[2]
ROWS = b'{"text": "late and broken", "label": "complaint"}\n{"text": "thank you", "label": "praise"}\n'


class Live:
    """A server that answers on loopback.

    Attributes:
        url: of its root.
        client: OpenAI's, for its /v1.
        process: it runs in; None: a thread of this one.
    """

    def __init__(self, port, process=None):
        self.url = f"http://127.0.0.1:{port}"
        self.client = OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)
        self.process = process

    def ready(self):
        try:
            return httpx2.get(f"{self.url}/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def get(self, path, **options):
        return httpx2.get(self.url + path, **options)

    def post(self, path, body=None, **options):
        return httpx2.post(self.url + path, json=body, **options)

    def delete(self, path):
        return httpx2.delete(self.url + path)

    def upload(self, rows=ROWS, name="train.jsonl"):
        return self.client.files.create(file=(name, rows), purpose="fine-tune").id

    def create(self, *, method="mlp", epochs=3, epoch_ms=0, training_file=None, headers=None, **fields):
        return self.client.fine_tuning.jobs.create(
            model="fake",
            training_file=training_file or self.upload(),
            seed=epoch_ms,
            extra_body={"method_name": method, "hyperparameters": {"n_epochs": epochs}} | fields,
            extra_headers=headers,
        )

    def job(self, job_id):
        return self.client.fine_tuning.jobs.retrieve(job_id)

    def wait(self, job_id, *statuses, timeout_s=30.0):
        """Wait until a job has one of these statuses; by default until it has ended."""
        statuses = statuses or ("succeeded", "failed", "cancelled")
        wait_until(lambda: self.job(job_id).status in statuses, timeout_s, every_s=0.05)
        return self.job(job_id)

    def wait_for_epoch(self, job_id, epoch=1):
        wait_until(lambda: len(self.client.fine_tuning.jobs.checkpoints.list(job_id).data) >= epoch, 30.0, every_s=0.05)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def serve_here(tmp_path, monkeypatch):
    """Start servers in threads of this process, one after another over the same data directory."""
    running, clients = [], []
    monkeypatch.setattr(server.work, "Workers", server.work.Workers)  # put back what create_app replaces

    def serve_here(*, fake_workers=True, **settings):
        app = create_app(
            Settings(models=["fake"], data_dir=tmp_path, log_level="error", **settings), fake_workers=fake_workers
        )
        own = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=own.run, daemon=True)
        thread.start()
        running.append((own, thread))
        live = Live(own.config.port)
        clients.append(live.client)
        wait_until(live.ready)
        return live

    def stop():
        while running:
            own, thread = running.pop()
            own.should_exit = True
            thread.join(20.0)
            assert not thread.is_alive()

    serve_here.stop = stop
    yield serve_here
    for client in clients:
        client.close()
    stop()


@pytest.fixture
def live(serve_here):
    return serve_here()


@pytest.fixture
def serve_apart(tmp_path):
    """Start servers in processes of their own, over the same data directory."""
    servers = []

    def serve_apart(kind="fake"):
        port = free_port()
        command = [sys.executable, "-m", "tests.finetuning.serving", str(tmp_path), str(port), kind]
        process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stderr=subprocess.DEVNULL)
        live = Live(port, process)
        servers.append(live)
        wait_until(live.ready, 30.0)
        return live

    yield serve_apart
    for live in servers:
        live.client.close()
        live.process.kill()
        live.process.wait()
