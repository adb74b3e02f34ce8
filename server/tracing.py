"""Tracing: one span a request for OpenTelemetry, if somebody asks for it; never a prompt, never an answer.

OpenTelemetry is imported where it is used: a server without a collector needs none of it.
"""

from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import ModelError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

EXPORT_TIMEOUT_S = 5  # of a collector that does not answer; the end of a server waits for it
_UNTRACED = ("/health/", "/metrics")  # asked every few seconds by machines
# What a route notes of its request → the attribute of the span, by OpenTelemetry's conventions where they have a name.
_ATTRIBUTES = {
    "model": "gen_ai.request.model",
    "samples": "gen_ai.request.choice.count",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "first_token_s": "gen_ai.server.time_to_first_token",
    "queue_s": "kelvin.queue_s",
    "prefill_s": "kelvin.prefill_s",
    "decode_s": "kelvin.decode_s",
    "error": "error.type",
}


def open_provider(endpoint: str, version: str) -> "TracerProvider":
    """Return what makes spans and sends them, in the background.

    Args:
        endpoint: of a collector that speaks OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces.
        version: of Kelvin.

    Raises:
        ModelError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ModelError(
            "otlp_endpoint is set, but OpenTelemetry is not installed; install it with pip install "
            "'kelvin-server[otel]', or unset it"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "kelvin", "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)))
    return provider


class TraceRequests:
    """Makes a span of every request, a child of the client's where it sends a `traceparent`."""

    def __init__(self, app: ASGIApp, provider: "TracerProvider") -> None:
        """Wrap an application.

        Args:
            app: the application.
            provider: makes spans.
        """
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = provider.get_tracer("kelvin")
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Trace the request; what is noted of it is in `scope["state"]["facts"]` when it has ended."""
        if scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, format_trace_id

        headers = Headers(scope=scope)
        parent = self._propagator.extract({name: headers[name] for name in self._propagator.fields if name in headers})
        span = self._tracer.start_span(scope["method"], context=parent, kind=SpanKind.SERVER)
        facts: dict[str, Any] = scope["state"].setdefault("facts", {})
        facts["trace_id"] = format_trace_id(span.get_span_context().trace_id)
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            _describe(span, scope, status, facts)
            span.end()


def _describe(span: Any, scope: Scope, status: int, facts: dict[str, Any]) -> None:
    from opentelemetry.trace import StatusCode

    route = getattr(scope.get("route"), "path", None)
    if route is not None:  # of an unknown path nothing is said: it is the client's text
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("kelvin.request_id", scope["state"]["request_id"])
    if status:
        span.set_attribute("http.response.status_code", status)
    for fact, name in _ATTRIBUTES.items():
        if fact in facts:
            span.set_attribute(name, facts[fact])
    if "finish_reasons" in facts:
        span.set_attribute("gen_ai.response.finish_reasons", sorted(map(str, facts["finish_reasons"])))
    if status >= 500 or not status:
        span.set_status(StatusCode.ERROR)
