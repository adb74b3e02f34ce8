"""What pydantic found wrong, said in our words: the field, the problem, the remedy; never the value."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from server.errors import InvalidRequestError

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SUBJECT = re.compile(r"^(Input|String|List|Tuple|Dictionary|Value) should ")
_AFTERTHOUGHT = re.compile(r" after validation, not .*$")


def describe_invalid_field(
    failures: Sequence[Mapping[str, Any]], schema: type[BaseModel] | None = None
) -> InvalidRequestError:
    """Turn pydantic's failures into one error about one field; a misspelt name comes before anything else.

    Args:
        failures: at least one, as `ValidationError.errors()` gives them.
        schema: of the body, whose names may be suggested and repeated; None: it is not known.
    """
    failure = min(failures, key=lambda failure: failure["type"] != "extra_forbidden")
    location = failure["loc"]
    if failure["type"] == "extra_forbidden":
        return _unknown_field(location, schema)
    field = _path(location, schema)
    if failure["type"] == "missing":
        message = f"{field} is missing; add it to the body"
    else:
        message = f"{field} must {_problem(failure['msg'])}"
    return InvalidRequestError(message, param=str(location[0]) if location else None)


def quotable(name: str) -> bool:
    """Tell whether a name from the body may be repeated: only what looks like a field's name, never a text."""
    return _FIELD_NAME.fullmatch(name) is not None


def _unknown_field(location: Sequence[str | int], schema: type[BaseModel] | None) -> InvalidRequestError:
    name, nest = str(location[-1]), _path(location[:-1], schema)
    if not quotable(name):
        return InvalidRequestError(f"{nest} has a field that no request has; GET /docs lists the fields")
    models = [model for _, model in _walk(location, schema)]
    nearest = difflib.get_close_matches(name, models[-1].model_fields if models else (), n=1)
    remedy = f"did you mean {nearest[0]}?" if nearest else "GET /docs lists the fields"
    of_what = "this request" if len(location) == 1 else nest
    return InvalidRequestError(f"{name} is not a field of {of_what}; {remedy}", param=str(location[0]))


def _path(location: Sequence[str | int], schema: type[BaseModel] | None) -> str:
    """Write a place in the body: fields and positions, but no key of a mapping, which is input."""
    if not location:
        return "the body"
    steps = dict(_walk(location, schema))
    path = str(location[0])
    for place, step in enumerate(location[1:], start=1):
        if isinstance(step, int):
            path += f"[{step}]"
        elif place in steps and step in steps[place].model_fields:
            path += f".{step}"
    return path


def _walk(location: Sequence[str | int], schema: type[BaseModel] | None) -> Iterator[tuple[int, type[BaseModel]]]:
    """Go down a place in the body; give each step that may name a field, and the model that has the field."""
    for place, step in enumerate(location):
        if schema is None:
            return
        if isinstance(step, str):
            yield place, schema
            field = schema.model_fields.get(step)
            schema = None if field is None else _model_in(field.annotation)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model that a field holds, by itself, in a list, or beside null."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)


def _problem(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return _AFTERTHOUGHT.sub("", _SUBJECT.sub("", message))
