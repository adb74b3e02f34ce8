"""A full queue over HTTP: refused early, cheaply, and with a word on when to come back; by every route that queues."""

import threading
from contextlib import contextmanager

import pytest

from tests.fakes import ByteTokenizer, FakeBackend, wait_until
from tests.server.asking import refused

CHAT = {"messages": [{"role": "user", "content": "hello"}]}


@contextmanager
def crowded(client, backend, *, waiting=3, **body):
    """Have one sample run and others wait, for as long as this lasts."""
    engine = client.app.state.models["fake"].engine
    body = {"prompt": "hello", "max_tokens": 5, "n": 1 + waiting} | body
    thread = threading.Thread(target=client.post, args=["/generate"], kwargs={"json": body})
    thread.start()
    wait_until(lambda: (engine.num_running, engine.num_waiting) == (1, waiting))
    yield engine
    backend.allow(1000)
    thread.join()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"prompt": "hello"}),
        ("/generate", {"prompt": "hello", "stream": True}),
        ("/generate", {"prompt": [1, 2, 3]}),
        ("/v1/completions", {"prompt": [[1, 2], [3]]}),
        ("/v1/chat/completions", CHAT),
        ("/distribution", {"prompt": "hello"}),
    ],
)
@pytest.mark.parametrize("limit", [{"queue_limit": 4}, {"queue_tokens": 31}])
def test_a_request_is_refused_before_its_prompt_is_encoded(serve, monkeypatch, path, body, limit):
    backend = FakeBackend(num_slots=1, gated=True)
    client = serve(backend, **limit)
    with crowded(client, backend, waiting=3) as engine:
        if "queue_limit" in limit:
            engine.submit = None  # asking for a fifth must not get that far
            client.app.state.models["fake"].engine.queue_limit = 3
        else:
            engine.queue_tokens = engine.num_waiting_tokens + 1
        monkeypatch.setattr(ByteTokenizer, "encode", None)
        response = client.post(path, json=body)
        monkeypatch.undo()
        assert response.status_code == 429, response.text
        assert 1 <= int(response.headers["retry-after"]) <= 120
        error = response.json()["error"]
        assert (error["code"], error["type"]) == ("queue_full", "rate_limit_error")
        assert "wait already" in error["message"]


def test_a_text_is_priced_at_its_bytes_and_at_no_more_than_a_slot_holds(serve):
    backend = FakeBackend(num_slots=1, gated=True, max_length=64)
    client = serve(backend)
    with crowded(client, backend, waiting=1) as engine:
        free = engine.num_waiting_tokens
        engine.queue_tokens = free + 64
        response = client.post("/generate", json={"prompt": "é" * 100, "max_tokens": 7})
        assert response.status_code == 400, "it passes at the price of a slot, and is refused for what it is"
        assert response.json()["error"]["code"] == "context_length_exceeded"
        engine.queue_tokens -= 1
        assert refused(client, 429, prompt="é" * 100, max_tokens=7)["code"] == "queue_full"
        engine.queue_tokens = free + 20 + 7
        assert refused(client, 429, prompt="é" * 10 + "a", max_tokens=7)["code"] == "queue_full"


def test_more_than_the_queue_ever_holds_is_refused_for_good(serve):
    client = serve(FakeBackend(num_slots=1), queue_tokens=100)
    error = refused(client, prompt=["hello"] * 4, n=2, max_tokens=11)
    assert error["param"] == "max_tokens"
    assert "108 tokens" in error["message"]
    assert client.post("/generate", json={"prompt": ["hello"] * 4, "n": 2, "max_tokens": 10}).status_code == 200


def test_who_waits_too_long_for_a_slot_is_answered_429_by_every_route(serve, settings):
    object.__setattr__(settings, "queue_timeout_s", 0.2)
    backend = FakeBackend(num_slots=1, gated=True)
    client = serve(backend)
    answers = {}

    def ask(name, path, body):
        answers[name] = client.post(path, json=body)

    with crowded(client, backend, waiting=0) as engine:
        threads = [
            threading.Thread(target=ask, args=arguments)
            for arguments in (
                ("whole", "/generate", {"prompt": "a"}),
                ("stream", "/generate", {"prompt": "a", "stream": True}),
                ("logits", "/distribution", {"prompt": "a"}),
            )
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: engine.num_waiting == 3)
        threading.Event().wait(0.25)
        backend.allow(2)
        for thread in threads:
            thread.join()
    for name, answer in answers.items():
        assert answer.status_code == 429, name
        assert answer.json()["error"]["code"] == "queue_timeout"
        assert 1 <= int(answer.headers["retry-after"]) <= 120


def test_memory_that_is_short_is_a_503_that_may_be_tried_again(serve):
    backend = FakeBackend()
    client = serve(backend)
    backend.decode_error = MemoryError("secret")
    answer = client.post("/generate", json={"prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "out_of_memory")
    assert "retry-after" in answer.headers
    assert "secret" not in answer.text
    backend.decode_error = None
    assert client.post("/generate", json={"prompt": "a"}).status_code == 200
