"""Failures: every refusal and failure as one shape of body, and the only table of HTTP status codes."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.invalid_fields import describe_invalid_field
from server.errors import (
    InvalidRequestError,
    KelvinError,
    NotFoundError,
    NumericalError,
    OutOfMemoryError,
    OverloadedError,
    SlowReaderError,
    UnavailableError,
)
from server.jobs.errors import JobStateError

log = logging.getLogger(__name__)

STATUS: dict[type[KelvinError], int] = {
    InvalidRequestError: 400,
    JobStateError: 409,
    NotFoundError: 404,
    OverloadedError: 429,
    OutOfMemoryError: 503,
    SlowReaderError: 408,
    UnavailableError: 503,
    KelvinError: 500,
}
CODES = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
}
TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
CLIENT_CLOSED_REQUEST = 499  # nobody reads it; it is for the log
UNAVAILABLE_RETRY_S = 5


def status_of(error: KelvinError) -> int:
    """Look up the HTTP status of an error, by its class or the nearest base."""
    return next(STATUS[base] for base in type(error).__mro__ if base in STATUS)


def describe_failure(error: Exception, request_id: str) -> dict[str, Any]:
    """Put an error into the body that every route answers with; anything but a KelvinError stays unnamed.

    Args:
        error: what was raised.
        request_id: the request's name, for the log.
    """
    if not isinstance(error, KelvinError):
        error = KelvinError("the server failed on this request; its log says more under the request_id")
    return failure_body(status_of(error), error.message, code=error.code, param=error.param, request_id=request_id)


def install_failures(app: FastAPI) -> None:
    """Answer every exception that a route raises, or the framework itself, in the one shape."""
    app.add_exception_handler(KelvinError, _answer_kelvin_error)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _answer_http_exception)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _answer_validation_error)  # type: ignore[arg-type]
    app.add_exception_handler(ClientDisconnect, _answer_nobody)


class UnforeseenFailures:
    """Answers what no handler knows with a plain 500; the middleware around it still adds its headers and log line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Log the exception with the request's name; close the connection where the answer had begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            request_id = scope["state"]["request_id"]
            log.exception("request %s failed", request_id)
            if started:
                raise
            await JSONResponse(describe_failure(error, request_id), 500)(scope, receive, send)


async def _answer_kelvin_error(request: Request, error: KelvinError) -> Response:
    request.state.facts["error"] = error.code
    return JSONResponse(describe_failure(error, request.state.request_id), status_of(error), _headers(error))


def _headers(error: KelvinError) -> dict[str, str]:
    if isinstance(error, OverloadedError):
        return {"retry-after": str(error.retry_after_s)}
    if isinstance(error, UnavailableError | OutOfMemoryError):
        return {"retry-after": str(UNAVAILABLE_RETRY_S)}
    # Clients try a 500 again by themselves; the same numbers would fail again.
    return {"x-should-retry": "false"} if isinstance(error, NumericalError) else {}


async def _answer_http_exception(request: Request, error: HTTPException) -> Response:
    status, headers = error.status_code, dict(error.headers or {})
    code = CODES.get(status, "http_error")
    request.state.facts["error"] = code
    message = error.detail
    if message == HTTPStatus(status).phrase:  # the framework's own words name neither problem nor remedy
        message = _MESSAGES.get(status, message).format(allow=headers.get("Allow", "another method"))
    if status == 413:
        headers["connection"] = "close"  # or the rest of the body would have to be read
    return JSONResponse(failure_body(status, message, code=code, request_id=request.state.request_id), status, headers)


_MESSAGES = {
    404: "there is no such route; GET /docs lists those there are",
    405: "this route does not take this method; it takes {allow}",
}


async def _answer_validation_error(request: Request, error: RequestValidationError) -> Response:
    failures = [{**failure, "loc": failure["loc"][1:]} for failure in error.errors()]  # loc[0] is "query" or "path"
    return await _answer_kelvin_error(request, describe_invalid_field(failures))


async def _answer_nobody(request: Request, error: Exception) -> Response:
    request.state.facts["error"] = "client_disconnected"
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def failure_body(status: int, message: str, *, code: str, request_id: str, param: str | None = None) -> dict[str, Any]:
    """Write the body of an error.

    Args:
        status: of the response; decides the type.
        message: for a person: field, problem, remedy.
        code: for a program.
        request_id: the request's name.
        param: the field that is wrong; None where there is no such field.
    """
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code, "request_id": request_id}}
