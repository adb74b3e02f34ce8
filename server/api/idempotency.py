"""Idempotency-Key: a header that makes it harmless to send a request again."""

from starlette.requests import Request

from server.jobs.errors import JobStateError

MAX_KEY = 255


def idempotency_key(request: Request) -> str | None:
    """Read the header; None: there is none.

    Raises:
        JobStateError: it is too long, or empty.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_KEY:
        raise JobStateError(f"the Idempotency-Key must have 1 to {MAX_KEY} characters")
    return key
