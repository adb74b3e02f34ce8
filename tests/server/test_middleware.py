"""What surrounds every route: names, headers, log lines, and answers to what nobody foresaw."""

import json
import logging
import re
from typing import Annotated

import pytest
from fastapi import Query
from starlette.testclient import TestClient

from server.app import create_app
from server.telemetry import configure_logging
from tests.conftest import loaded
from tests.fakes import FakeBackend, wait_until


@pytest.mark.parametrize("given", ["abc", "A-b_9", "x" * 64])
def test_a_harmless_request_id_is_kept(client, given):
    response = client.get("/nothing", headers={"x-request-id": given})
    assert response.headers["x-request-id"] == response.json()["error"]["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "é", '"}', "a,b"])
def test_another_request_id_is_replaced(client, given):
    response = client.get("/nothing", headers={"x-request-id": given.encode("latin-1")})
    assert re.fullmatch(r"req-[0-9a-f]{24}", response.headers["x-request-id"])
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"]


def test_every_request_has_a_name_of_its_own(client):
    assert client.get("/version").headers["x-request-id"] != client.get("/version").headers["x-request-id"]


@pytest.mark.parametrize("path", ["/docs", "/version", "/nothing", "/generate"])
def test_every_answer_has_the_security_headers(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'self'" in headers["content-security-policy"]


@pytest.fixture
def broken(settings):
    """A client of an application with routes that fail in ways of their own."""
    app = create_app(settings, load=lambda settings: {"fake": loaded(FakeBackend())})

    @app.get("/broken")
    async def fail():
        raise ZeroDivisionError("secret")

    @app.get("/counted")
    async def count(number: int, fraction: Annotated[float, Query(le=1)] = 0.5):
        return {}

    with TestClient(app) as client:
        yield client


def test_what_nobody_foresaw_is_a_500_in_the_one_shape_with_all_headers(broken):
    response = broken.get("/broken")
    assert response.status_code == 500
    error = response.json()["error"]
    assert (error["code"], error["type"]) == ("internal_error", "server_error")
    assert error["request_id"] == response.headers["x-request-id"]
    assert "secret" not in response.text
    assert response.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("query", "param"), [("", "number"), ("?number=x", "number"), ("?number=1&fraction=2", "fraction")]
)
def test_the_frameworks_own_validation_is_a_400_too(broken, query, param):
    response = broken.get(f"/counted{query}")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["message"].startswith(param)


@pytest.fixture
def log_lines(capsys):
    """Collect what a server writes to its standard error, parsed."""
    written = []

    def lines(event="request"):
        written.extend(map(json.loads, capsys.readouterr().err.splitlines()))
        return [line for line in written if line["event"] == event]

    return lines


def last_line(log_lines, path):
    wait_until(lambda: any(line["path"] == path for line in log_lines()))
    return [line for line in log_lines() if line["path"] == path][-1]


def test_a_request_is_one_line_with_its_facts_and_no_prompt(log_lines, serve):
    client = serve(FakeBackend())
    for stream in (False, True):
        response = client.post(
            "/generate?key=secret",
            json={"prompt": "my secret", "n": 2, "max_tokens": 3, "stop": ["secret"], "stream": stream},
        )
        assert response.is_success
        line = last_line(log_lines, "/generate")
        expected = {
            "method": "POST", "status": 200, "level": "info", "model": "fake", "samples": 2, "prompt_tokens": 9,
            "completion_tokens": 6, "finish_reasons": {"length": 2}, "request_id": response.headers["x-request-id"],
        }  # fmt: skip
        assert {name: line[name] for name in expected} == expected
        assert 0 <= line["first_token_s"] <= line["duration_s"]
    assert len([line for line in log_lines() if line["path"] == "/generate"]) == 2
    assert "secret" not in json.dumps(log_lines())


def test_a_refusal_is_logged_by_its_code(log_lines, serve):
    client = serve(FakeBackend())
    client.post("/generate", json={"prompt": 1})
    assert last_line(log_lines, "/generate")["error"] == "invalid_request"


def test_a_path_cannot_forge_a_line(log_lines, serve):
    client = serve(FakeBackend())
    client.get("/%0A%1B[31m" + "x" * 500)
    [line] = [line for line in log_lines() if line["status"] == 404]
    assert len(line["path"]) <= 200
    assert line["path"].isprintable()


def test_health_checks_are_quiet(log_lines, serve):
    client = serve(FakeBackend())
    client.get("/health/ready")
    client.get("/version")
    last_line(log_lines, "/version")
    assert not [line for line in log_lines() if line["path"].startswith("/health")]


def test_libraries_log_in_the_same_form_and_a_failure_has_its_traceback(log_lines):
    configure_logging("info")
    logging.getLogger("library").warning("half %s", "full")
    logging.getLogger("library").debug("nothing")
    try:
        raise ValueError("inside")
    except ValueError:
        logging.getLogger("library").exception("outside")
    [line] = log_lines("half full")
    assert (line["level"], line["logger"]) == ("warning", "library")
    assert "timestamp" in line
    assert not log_lines("nothing")
    assert "ValueError: inside" in log_lines("outside")[0]["exception"]


def test_configuring_twice_writes_every_line_once(log_lines):
    configure_logging("info")
    configure_logging("warning")
    logging.getLogger("library").info("below")
    logging.getLogger("library").error("once")
    assert len(log_lines("once")) == 1
    assert not log_lines("below")
