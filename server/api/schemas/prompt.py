"""Prompt: a text, several texts, or token ids."""

from typing import Annotated, Any

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

MAX_PROMPTS = 256
MAX_PROMPT_TOKENS = 2**18


def _check(value: Any) -> str | list[int]:
    if isinstance(value, str):
        return value
    if _all_of(int, value):
        return _bounded(value, MAX_PROMPT_TOKENS, "token ids")
    raise PydanticCustomError("prompt_type", "Input should be a text or a list of token ids")


def _check_several(value: Any) -> str | list[str] | list[int]:
    if isinstance(value, str):
        return value
    if _all_of(int, value):
        return _bounded(value, MAX_PROMPT_TOKENS, "token ids")
    if _all_of(str, value):
        return _bounded(value, MAX_PROMPTS, "texts")
    raise PydanticCustomError("prompt_type", "Input should be a text, a list of texts or a list of token ids")


def _check_any(value: Any) -> str | list[str] | list[int] | list[list[int]]:
    if isinstance(value, list) and value and all(_all_of(int, item) for item in value):
        return _bounded([_bounded(item, MAX_PROMPT_TOKENS, "token ids") for item in value], MAX_PROMPTS, "prompts")
    return _check_several(value)


def _all_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)


def _bounded(values: list[Any], most: int, kind: str) -> list[Any]:
    if not 1 <= len(values) <= most:
        raise PydanticCustomError("prompt_length", "Input should hold 1 to {most} {kind}", {"most": most, "kind": kind})
    return values


_Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
_TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MAX_PROMPT_TOKENS)]

# Validated by hand: a union would try every member on every item and collect as many errors as the list is long.
Prompt = Annotated[str | list[int], PlainValidator(_check, json_schema_input_type=str | _TokenIds)]
Prompts = Annotated[
    str | list[str] | list[int], PlainValidator(_check_several, json_schema_input_type=str | _Texts | _TokenIds)
]
AnyPrompts = Annotated[
    str | list[str] | list[int] | list[list[int]],
    PlainValidator(
        _check_any,
        json_schema_input_type=str
        | _Texts
        | _TokenIds
        | Annotated[list[_TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)],
    ),
]
