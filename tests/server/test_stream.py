"""POST /generate as server-sent events: the same answer in pieces, and failures that a client can tell apart."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.api.event_stream import EventStream
from tests.fakes import EOS, FakeBackend, says, wait_until


def stream(client, **body):
    response = client.post("/generate", json={"prompt": "hello", "stream": True} | body)
    assert response.status_code == 200, response.text
    return response


def events_of(response):
    """Parse the stream as the specification says: events end with an empty line, each has one data line."""
    assert response.text.endswith("\n\n")
    lines = response.text.removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [line.removeprefix("data: ") for line in lines]


def choices_of(response):
    *events, done = events_of(response)
    assert done == "[DONE]"
    *parts, last = map(json.loads, events)
    assert last["choices"] == []
    joined = {}
    for part in parts:
        assert set(part) == {"id", "choices"}
        [choice] = part["choices"]
        whole = joined.setdefault(choice["index"], {"text": "", "token_ids": [], "finish_reason": None})
        assert whole["finish_reason"] is None, "something came after the end"
        whole["text"] += choice["text"]
        whole["token_ids"] += choice["token_ids"]
        whole["finish_reason"] = choice["finish_reason"]
        whole["prompt_index"] = choice["prompt_index"]
    return joined, last


def test_the_pieces_joined_are_the_whole_answer(client):
    body = {"prompt": ["one", "two"], "n": 2, "seed": 3, "max_tokens": 9, "stop": ["a", "<>"]}
    joined, last = choices_of(stream(client, **body))
    whole = client.post("/generate", json=body).json()
    assert len(joined) == 4
    for choice in whole["choices"]:
        assert joined[choice.pop("index")] == choice
    assert last["usage"] == whole["usage"]
    assert last["sampling"]["resolved"] == whole["sampling"]["resolved"]
    assert {"id", "model", "framework", "device", "usage", "sampling", "timings"} < set(last)


def test_the_headers_keep_proxies_from_holding_events_back(client):
    headers = stream(client).headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert "content-length" not in headers


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(text=st.text("aé🦊\u2028\x85\r\n", max_size=20))
def test_characters_arrive_whole_whatever_they_are(serve, text):
    client = serve(FakeBackend(script=says(text)))
    response = stream(client)
    assert response.content.isascii()
    joined, _ = choices_of(response)
    assert joined[0]["text"] == text
    assert "\ufffd" not in response.text
    assert "\\ufffd" not in response.text


def test_text_that_may_begin_a_stop_is_held_back(serve):
    client = serve(FakeBackend(script=says("one\ntwo\n\nthree")))
    events = [json.loads(event) for event in events_of(stream(client, stop=["\n\n"]))[:-2]]
    assert [event["choices"][0]["text"] for event in events] == ["o", "n", "e", "", "\nt", "w", "o", "", ""]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_log_probabilities_come_with_their_tokens(client):
    *events, _, _ = events_of(stream(client, logprobs=1, max_tokens=3))
    for event in events:
        [choice] = json.loads(event)["choices"]
        assert choice["logprobs"]["token_logprobs"] == [-0.5] * len(choice["token_ids"])


@pytest.mark.parametrize(
    ("body", "status"),
    [({"temperature": -1}, 400), ({"model": "none"}, 404), ({"prompt": ""}, 400), ({"prompt": "!"}, 500)],
)
def test_a_failure_before_the_first_token_has_a_status_of_its_own(serve, body, status):
    backend = FakeBackend()
    backend.not_finite = lambda prompt_ids, step: prompt_ids == (33,)
    response = serve(backend).post("/generate", json={"prompt": "hello", "stream": True} | body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()["error"]) == {"message", "type", "param", "code", "request_id"}


def test_a_full_queue_is_a_429_for_a_stream_too(serve):
    client = serve(FakeBackend(), queue_limit=4)
    client.app.state.models["fake"].engine.queue_limit = 0
    response = client.post("/generate", json={"prompt": "a", "stream": True})
    assert response.status_code == 400  # more than the queue ever holds
    client.app.state.models["fake"].engine.queue_limit = 1
    response = client.post("/generate", json={"prompt": ["a", "b"], "stream": True})
    assert response.status_code == 400


@pytest.mark.parametrize("failure", ["not finite", "decode"])
def test_a_failure_after_the_first_token_is_an_event_and_no_done(serve, failure):
    backend = FakeBackend()
    if failure == "decode":
        backend.not_finite = lambda prompt_ids, step: step == 2 and setattr(backend, "decode_error", OSError("disk"))
    else:
        backend.not_finite = lambda prompt_ids, step: step == 2
    client = serve(backend)
    response = stream(client)
    *events, last = events_of(response)
    assert len(events) >= 2
    assert set(json.loads(last)) == {"error"}
    error = json.loads(last)["error"]
    assert error["code"] == ("internal_error" if failure == "decode" else "numerical_error")
    assert error["request_id"] == response.headers["x-request-id"]
    assert "disk" not in response.text
    wait_until(lambda: client.app.state.models["fake"].engine.num_running == 0)


def test_a_client_that_neither_reads_nor_stays_has_its_events_closed():
    closed = []

    async def events():
        try:
            while True:
                yield "data: x\n\n"
        finally:
            closed.append(True)

    async def scenario():
        unread = asyncio.Event()

        async def send(message):
            if message.get("body"):
                unread.set()
                await asyncio.Event().wait()

        async def receive():
            await unread.wait()
            return {"type": "http.disconnect"}

        scope = {"state": {"facts": {}}}
        begun = events()
        response = EventStream(begun, await anext(begun))
        await response(scope, receive, send)
        assert closed == [True]
        assert scope["state"]["facts"] == {"error": "client_disconnected"}

    asyncio.run(scenario())


def test_a_sample_may_end_with_its_first_token(serve):
    joined, last = choices_of(stream(serve(FakeBackend(script=says(""))), n=2))
    assert joined == {
        index: {"text": "", "token_ids": [EOS], "finish_reason": "stop", "prompt_index": 0} for index in range(2)
    }
    assert last["usage"]["completion_tokens"] == 2
