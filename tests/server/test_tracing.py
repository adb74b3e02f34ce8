"""Traces: a span a request, under the client's own, with times and counts, and nothing of what was said."""

import builtins

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient

from server.app import create_app
from server.errors import ModelError
from server.settings import Settings
from tests.conftest import loaded
from tests.fakes import FakeBackend, says, wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def client(settings, exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    backend = FakeBackend(script=says("secret answer"))
    app = create_app(settings, load=lambda settings: {"fake": loaded(backend)}, tracing=provider)
    with TestClient(app) as client:
        client.backend = backend
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        yield client


def only(exporter):
    [span] = exporter.get_finished_spans()
    return span


@pytest.mark.parametrize("stream", [False, True])
def test_a_span_tells_of_a_request_what_was_measured_and_nothing_that_was_said(client, exporter, stream):
    body = {"prompt": "secret prompt", "n": 2, "max_tokens": 5, "stream": stream, "stop": ["secret stop"]}
    answer = client.post("/generate", json=body, headers={"x-request-id": "mine"})
    assert answer.status_code == 200
    span = only(exporter)
    assert (span.name, span.kind, span.parent) == ("POST /generate", SpanKind.SERVER, None)
    attributes = dict(span.attributes)
    times = [attributes.pop(f"kelvin.{part}_s") for part in ("queue", "prefill", "decode")]
    first = attributes.pop("gen_ai.server.time_to_first_token")
    assert all(0 <= part < 5 for part in (*times, first))
    assert sum(times) <= (span.end_time - span.start_time) / 1e9
    assert attributes == {
        "http.route": "/generate",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "kelvin.request_id": "mine",
        "gen_ai.request.model": "fake",
        "gen_ai.request.choice.count": 2,
        "gen_ai.usage.input_tokens": 13,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.response.finish_reasons": ("length",),
    }
    assert "secret" not in span.to_json()
    assert span.status.status_code is StatusCode.UNSET


def test_a_span_is_a_child_of_the_clients_and_the_log_has_its_trace(client, exporter, caplog):
    client.post("/v1/completions", json={"prompt": "a"}, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    span = only(exporter)
    assert format(span.context.trace_id, "032x") == TRACE
    assert format(span.parent.span_id, "016x") == PARENT
    assert any(TRACE in record.getMessage() for record in caplog.records)


def test_a_client_that_does_not_sample_is_obeyed_and_nonsense_is_ignored(client, exporter):
    client.post("/generate", json={"prompt": "a"}, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert exporter.get_finished_spans() == ()
    client.post("/generate", json={"prompt": "a"}, headers={"traceparent": "nonsense"})
    assert only(exporter).parent is None


def test_failures_say_so_and_unknown_paths_are_not_repeated(client, exporter):
    client.post("/generate", json={"prompt": 1})
    client.post("/secret/path", json={})
    client.backend.not_finite = lambda prompt_ids, step: True
    client.post("/generate", json={"prompt": "a"})
    refused, unknown, failed = exporter.get_finished_spans()
    assert (refused.status.status_code, refused.attributes["error.type"]) == (StatusCode.UNSET, "invalid_request")
    assert unknown.name == "POST"
    assert "secret" not in unknown.to_json()
    assert (failed.status.status_code, failed.attributes["error.type"]) == (StatusCode.ERROR, "numerical_error")


def test_probes_make_no_spans(client, exporter):
    client.get("/health/live")
    client.get("/metrics")
    assert exporter.get_finished_spans() == ()


def test_a_setting_sends_spans_to_a_collector(settings, monkeypatch):
    """An exporter of OpenTelemetry's own, at a port where nobody listens: requests do not notice."""
    object.__setattr__(settings, "otlp_endpoint", "http://127.0.0.1:9/v1/traces")
    monkeypatch.setattr("server.tracing.EXPORT_TIMEOUT_S", 1)
    with TestClient(create_app(settings, load=lambda settings: {"fake": loaded(FakeBackend())})) as client:
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        assert client.post("/generate", json={"prompt": "a"}).status_code == 200


def test_without_opentelemetry_a_server_that_traces_says_what_to_install(monkeypatch):
    found = builtins.__import__

    def missing(name, *rest, **options):
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return found(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModelError, match=r"kelvin-server\[otel\]"):
        create_app(Settings(otlp_endpoint="http://127.0.0.1:4318/v1/traces"))
    create_app(Settings())
