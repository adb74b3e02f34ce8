"""What pydantic found wrong, said in our words: the field, the problem, the remedy; never the value."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from server.errors import InvalidRequestError

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SUBJECT = re.compile(r"^(Input|String|List|Tuple|Dictionary|Value) should ")
_AFTERTHOUGHT = re.compile(r" after validation, not .*$")


def describe_invalid_field(failures: Sequence[Mapping[str, Any]], *, known: Iterable[str]) -> InvalidRequestError:
    """Turn pydantic's failures into one error about one field; a misspelt name comes before anything else.

    Args:
        failures: at least one, as `ValidationError.errors()` gives them.
        known: the names that the body may have, to suggest one.
    """
    failure = min(failures, key=lambda failure: failure["type"] != "extra_forbidden")
    location = failure["loc"]
    if failure["type"] == "extra_forbidden":
        return _unknown_field(str(location[-1]), known)
    field = _path(location)
    if failure["type"] == "missing":
        message = f"{field} is missing; add it to the body"
    else:
        message = f"{field} must {_problem(failure['msg'])}"
    return InvalidRequestError(message, param=str(location[0]) if location else None)


def quotable(name: str) -> bool:
    """Tell whether a name from the body may be repeated: only what looks like a field's name, never a text."""
    return _FIELD_NAME.fullmatch(name) is not None


def _unknown_field(name: str, known: Iterable[str]) -> InvalidRequestError:
    if not quotable(name):
        return InvalidRequestError("the body has a field that no request has; GET /docs lists the fields")
    nearest = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {nearest[0]}?" if nearest else "GET /docs lists the fields"
    return InvalidRequestError(f"{name} is not a field of this request; {remedy}", param=name)


def _path(location: Sequence[str | int]) -> str:
    """Write a place in the body: the field and the positions in it, but no key of a mapping, which is input."""
    if not location:
        return "the body"
    return str(location[0]) + "".join(f"[{step}]" for step in location[1:] if isinstance(step, int))


def _problem(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return _AFTERTHOUGHT.sub("", _SUBJECT.sub("", message))
