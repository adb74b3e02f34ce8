"""What several rooms' tests need: an application over fake backends, and a client that is ready."""

import logging

import pytest
from starlette.testclient import TestClient

from server.app import create_app
from server.engine.engine import Engine
from server.loaded import LoadedModel
from server.models.chat_template import ChatTemplate
from server.settings import Settings
from tests.fakes import ByteTokenizer, FakeBackend, wait_until

TEMPLATE = "{% for turn in messages %}{{ '<|start|>' + turn.role + ':' + turn.content }}{% endfor %}<|start|>"


def loaded(backend, *, name="fake", chat=TEMPLATE, queue_limit=16, **limits):
    engine = Engine(backend, queue_limit=queue_limit, **limits)
    engine.start()
    template = ChatTemplate(chat) if chat else None
    return LoadedModel(name, ByteTokenizer(), engine, backend.framework, backend.device, backend.dtype, template)


@pytest.fixture(autouse=True)
def restored_logging():
    """Take back what starting an application does to the root logger."""
    root = logging.getLogger()
    level = root.level
    yield
    root.handlers = [handler for handler in root.handlers if handler.get_name() != "kelvin"]  # pytest has its own
    root.setLevel(level)


@pytest.fixture
def settings(tmp_path):
    return Settings(models=["fake"], max_body_bytes=60_000, max_timeout_s=30.0, data_dir=tmp_path / "data")


@pytest.fixture
def serve(settings):
    """Serve fake backends by name and return a client for them; the first one answers by default."""
    clients, served = [], []

    def serve(*backends, queue_limit=16, queue_tokens=2**19, **named):
        limits = {"queue_limit": queue_limit, "queue_tokens": queue_tokens}
        named = {f"fake{index or ''}": backend for index, backend in enumerate(backends)} | named

        served.extend(named.values())

        def load(settings):
            return {name: loaded(backend, name=name, **limits) for name, backend in named.items()}

        client = TestClient(create_app(settings, load=load))
        client.__enter__()
        clients.append(client)
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        return client

    yield serve
    for backend in served:
        backend.allow(1000)  # one that waits at its gate would keep its engine from stopping
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve):
    return serve(FakeBackend())
