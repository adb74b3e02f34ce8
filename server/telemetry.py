"""Telemetry: log lines as JSON, one a request; never a prompt, never an answer."""

import logging
import sys
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HANDLER = "kelvin"
_LONGEST_PATH = 200
_log = structlog.stdlib.get_logger("kelvin.access")


def configure_logging(level: str) -> None:
    """Send all log lines, those of libraries included, to standard error: as JSON, or in colour to a terminal.

    Args:
        level: the least severe to write: `debug`, `info`, `warning` or `error`.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # tests configure more than once
    )
    handler = logging.StreamHandler()
    handler.set_name(_HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers()],
        )
    )
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if other.get_name() != _HANDLER] + [handler]
    root.setLevel(level.upper())


def _renderers() -> list[structlog.typing.Processor]:
    if sys.stderr.isatty():
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


class AccessLog:
    """Writes one line a request: who asked for what, how it ended, how long it took, and the route's own facts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Time the request and log it; routes put what is worth a line into `scope["state"]["facts"]`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        facts: dict[str, Any] = scope.setdefault("state", {}).setdefault("facts", {})
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            _log.log(
                logging.DEBUG if scope["path"].startswith("/health/") else logging.INFO,
                "request",
                request_id=scope["state"].get("request_id"),
                method=scope["method"],
                path=_loggable_path(scope),
                status=status,
                duration_s=round(time.perf_counter() - started_s, 6),
                **facts,
            )


def _loggable_path(scope: Scope) -> str:
    """Return the path as it came, percent signs and all: a decoded one could hold control characters."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "backslashreplace")
    return raw.decode("ascii", "backslashreplace")[:_LONGEST_PATH]
