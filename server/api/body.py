"""The body of a request: JSON read more strictly than `json` does by itself, then checked against a schema."""

import asyncio
import json
import math
from collections import Counter
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from server.api.invalid_fields import describe_invalid_field, quotable
from server.errors import InvalidRequestError

BODY_TIMEOUT_S = 30.0
MAX_INTEGER = 2**64

_Schema = TypeVar("_Schema", bound=BaseModel)


async def read_body(request: Request, schema: type[_Schema]) -> _Schema:
    """Read a request's JSON body.

    Args:
        request: a POST; `BodyLimit` bounds its length.
        schema: what the body must be.

    Raises:
        InvalidRequestError: the body is not one JSON object, or a field is unknown, missing or wrong.
        HTTPException: 415 for another type or a compressed body, 408 for one that takes too long, 413 from `BodyLimit`.
        ClientDisconnect: the client left while it sent.
    """
    _require_json(request)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            data = await request.body()
    except TimeoutError:
        raise HTTPException(
            408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} seconds; send it faster"
        ) from None
    value = parse_object(data)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        failures = error.errors(include_url=False, include_context=False, include_input=False)
        raise describe_invalid_field(failures, schema) from None


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; what parsers read differently from one another is refused.

    Args:
        data: UTF-8 without a byte order mark.

    Raises:
        InvalidRequestError: other bytes, no JSON, no object, a key given twice, a number that is not finite or an
            integer beyond 64 bits, half a surrogate pair, or too many levels of nesting.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"the body is not UTF-8 at byte {error.start}; encode the JSON as UTF-8") from None
    if not text.strip():
        raise InvalidRequestError("the body is empty; send a JSON object")
    if text.startswith("\ufeff"):
        raise InvalidRequestError("the body begins with a byte order mark; leave it out")
    value = _parse(text)
    if not isinstance(value, dict):
        raise InvalidRequestError("the body must be a JSON object: {...}")
    return value


def _parse(text: str) -> Any:
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
        )
        if "\\u" in text:  # an escape is the only way to write half of a pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError:
        raise InvalidRequestError(
            r"the body holds half of a surrogate pair (\ud800 to \udfff); send whole Unicode characters"
        ) from None
    except json.JSONDecodeError as error:
        raise InvalidRequestError(
            f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except RecursionError:
        raise InvalidRequestError("the body is nested too deeply; no field needs more than a few levels") from None


def _require_json(request: Request) -> None:
    if "content-encoding" in request.headers:
        raise HTTPException(415, "the body must not be compressed; leave Content-Encoding out")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "the body must be JSON; send it with Content-Type: application/json")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise InvalidRequestError(f"{twice if quotable(twice) else 'a key'} is given twice; give it once")
    return value


def _constant(name: str) -> NoReturn:
    raise InvalidRequestError(f"the body holds {name}, which is not JSON; every number must be finite")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidRequestError("the body holds a number beyond the range of a double; every number must be finite")
    return value


def _integer(digits: str) -> int:
    # Longer ones are refused unread: the time to read an integer grows with the square of its length.
    if len(digits) > len(str(MAX_INTEGER)) or abs(int(digits)) > MAX_INTEGER:
        raise InvalidRequestError("the body holds an integer beyond 64 bits; no field takes one")
    return int(digits)
