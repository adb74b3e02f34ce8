"""A job's events over HTTP: in order, none twice, none missed, whenever the client comes and comes again."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from server.api import job_events
from server.api.job_events import stream_events
from server.app import create_app
from server.jobs import watching
from server.jobs.job import Kind
from server.jobs.status import Status


@pytest.fixture
def client(settings, store):
    async def events(request):
        return await stream_events(request, store, request.path_params["job_id"])

    app = create_app(settings, load=lambda settings: {})
    app.add_route("/jobs/{job_id}/events", events)
    with TestClient(app) as client:
        yield client


def ask(client, job_id, last_event_id=None):
    headers = {} if last_event_id is None else {"last-event-id": str(last_event_id)}
    return client.get(f"/jobs/{job_id}/events", headers=headers)


def parsed(text):
    """Parse as the specification says; return id and data of each event, and leave comments out."""
    assert text.endswith("\n\n")
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            assert set(fields) <= {"id", "data"}
            events.append((fields.get("id"), fields["data"]))
    return events


def stored(events):
    """Leave out what says how far the job is, and the end."""
    assert events[-1] == (None, "[DONE]")
    return [json.loads(data) | {"id": int(number)} for number, data in events if number is not None]


def calls_of(store, name, monkeypatch):
    """Return a function that waits until a method of the store has returned so often."""
    method, calls = getattr(store, name), []

    def counted(*args, **kwargs):
        result = method(*args, **kwargs)
        calls.append(result)
        return result

    def wait_for(count):
        deadline_s = time.monotonic() + 30
        while len(calls) < count:
            assert time.monotonic() < deadline_s, f"{name} was called {len(calls)} times"
            time.sleep(0.005)

    monkeypatch.setattr(store, name, counted)
    return wait_for


@pytest.fixture
def finished(store):
    job = store.submit(Kind.COMPARISON, {})
    claim = store.claim(Kind.COMPARISON)
    for number in range(10):
        claim.record("message", f"line {number}\nand its second\u2028line", "info", {"number": number})
    claim.succeed({})
    return job.id


def test_a_finished_job_tells_everything_and_ends(client, store, finished):
    response = ask(client, finished)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    events = stored(parsed(response.text))
    assert [event["number"] for event in events] == [event["id"] for event in events] == list(range(1, 14))
    assert [event["message"] for event in events] == [event.message for event in store.events(finished)]
    assert [event["data"]["number"] for event in events[2:12]] == list(range(10))
    assert set(events[0]) == {"id", "number", "created_at", "type", "level", "message", "data"}
    [progress] = [json.loads(data) for number, data in parsed(response.text)[:-1] if number is None]
    assert progress == {"type": "progress", "status": "succeeded", "progress": 1.0, "eta_s": None}


@pytest.mark.parametrize("seen", [0, 1, 7, 12, 13, 10**17])
def test_a_client_that_comes_again_gets_what_it_has_not_seen(client, finished, seen):
    assert [event["id"] for event in stored(parsed(ask(client, finished, seen).text))] == list(range(seen + 1, 14))


def test_more_events_than_a_page(client, finished, monkeypatch):
    monkeypatch.setattr(job_events, "PAGE", 3)
    assert [event["id"] for event in stored(parsed(ask(client, finished).text))] == list(range(1, 14))


@pytest.mark.parametrize("seen", ["-1", "x", "1.5", "", "٣", "9" * 19])
def test_a_number_that_is_none(client, finished, seen):
    response = client.get(f"/jobs/{finished}/events", headers={"last-event-id": seen.encode()})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "Last-Event-ID")


def test_a_job_that_is_not_there(client):
    response = ask(client, "cmp-none")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_events_come_as_they_happen_and_all_clients_get_all(client, store):
    job = store.submit(Kind.COMPARISON, {})
    with ThreadPoolExecutor() as clients:
        early = [clients.submit(ask, client, job.id) for _ in range(3)]
        claim = store.claim(Kind.COMPARISON)
        for number in range(30):
            claim.record("message", str(number), "info", None)
            if number == 15:
                late = clients.submit(ask, client, job.id, 10)
        claim.report(0.5, 3.0)
        store.pause(job.id)
        claim.leave(Status.PAUSED)
        store.resume(job.id)
        store.cancel(job.id)
        events = [stored(parsed(answer.result().text)) for answer in (*early, late)]
    everything = [event.number for event in store.events(job.id)]
    assert everything == list(range(1, 37))
    assert [[event["id"] for event in seen] for seen in events] == [everything] * 3 + [everything[10:]]
    statuses = [event["data"]["status"] for event in events[0] if event["type"] == "status"]
    assert statuses == ["queued", "running", "paused", "queued", "cancelled"]


def test_how_far_a_job_is_comes_without_a_number(client, store, monkeypatch):
    job = store.submit(Kind.COMPARISON, {})
    claim = store.claim(Kind.COMPARISON)
    polls = calls_of(store, "get", monkeypatch)
    with ThreadPoolExecutor() as clients:
        answer = clients.submit(ask, client, job.id)
        for number, fraction in enumerate((0.25, 0.5), start=1):
            polls(number)  # what was reported before has been seen
            claim.report(fraction, 3.0)
        polls(3)
        claim.succeed({})
        events = parsed(answer.result().text)
    told = [json.loads(data) for number, data in events[:-1] if number is None]
    assert {event["type"] for event in told} == {"progress"}
    assert [(event["progress"], event["eta_s"]) for event in told] == [
        (0.0, None),
        (0.25, 3.0),
        (0.5, 3.0),
        (1.0, None),
    ]


def test_a_silent_job_sends_comments_so_that_nobody_hangs_up(client, store, monkeypatch):
    monkeypatch.setattr(job_events, "ALIVE_EVERY_S", 0.02)
    monkeypatch.setattr(watching, "POLL_S", 0.02)
    job = store.submit(Kind.COMPARISON, {})
    polls = calls_of(store, "get", monkeypatch)
    with ThreadPoolExecutor() as clients:
        answer = clients.submit(ask, client, job.id)
        polls(6)  # from the second on, each is followed by a comment
        store.cancel(job.id)
        text = answer.result().text
    assert text.count(": alive\n\n") >= 2
    assert [event["message"] for event in stored(parsed(text))] == ["the job is queued", "the job is cancelled"]


def test_what_another_process_writes_comes_too(client, store, open_store, monkeypatch):
    monkeypatch.setattr(watching, "POLL_S", 0.02)
    other = open_store()
    job = other.submit(Kind.COMPARISON, {})
    with ThreadPoolExecutor() as clients:
        answer = clients.submit(ask, client, job.id)
        claim = other.claim(Kind.COMPARISON)
        claim.succeed({})
        events = stored(parsed(answer.result().text))
    assert [event["id"] for event in events] == [1, 2, 3]


def test_a_store_that_breaks_while_it_is_read_ends_the_stream_with_an_error(client, store, monkeypatch):
    job = store.submit(Kind.COMPARISON, {})
    claim = store.claim(Kind.COMPARISON)

    def broken(*args, **kwargs):
        raise RuntimeError("secret")

    reads = calls_of(store, "events", monkeypatch)
    with ThreadPoolExecutor() as clients:
        answer = clients.submit(ask, client, job.id)
        reads(2)  # the first found what there was: it has begun
        monkeypatch.setattr(store, "events", broken)
        claim.report(0.5, None)
        text = answer.result().text
    *_, (number, last) = parsed(text)
    assert (number, json.loads(last)["error"]["code"]) == (None, "internal_error")
    assert "secret" not in text
    assert "[DONE]" not in text
