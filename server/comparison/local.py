"""A comparison in this process: what `kelvin compare` does between its options and the terminal."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TextIO

from pydantic import ValidationError

from server.api.invalid_fields import describe_invalid_field
from server.api.schemas.compare import CompareRequest
from server.comparison.part import Part
from server.comparison.plan import Plan
from server.comparison.preparation import prepare
from server.comparison.result import Report
from server.comparison.running import OnProgress, report_of, run
from server.errors import InvalidRequestError
from server.loaded import LoadedModel


class MemoryParts:
    """Keeps parts for as long as the process lives."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, Any]] = {}

    def part(self, key: str) -> dict[str, Any] | None:
        """Return a finished part, or None."""
        return self._parts.get(key)

    def save_part(self, key: str, payload: dict[str, Any]) -> None:
        """Keep a finished part."""
        self._parts[key] = payload


def read_prompts(file: TextIO) -> list[str]:
    """Read prompts, one a line: a JSON text, or an object with the field `prompt`.

    Args:
        file: JSONL; blank lines do not count.

    Raises:
        InvalidRequestError: a line is neither; the message has its number.
    """
    prompts = []
    for number, line in enumerate(file, start=1):
        if line.strip():
            prompts.append(_prompt(line, number))
    return prompts


def read_request(**values: Any) -> CompareRequest:
    """Check what was asked for.

    Args:
        values: fields of `POST /compare` by name; None stands for "not given".

    Raises:
        InvalidRequestError: a value is of the wrong type or out of range; `param` names it.
    """
    try:
        return CompareRequest(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise describe_invalid_field(error.errors(), CompareRequest) from None


def compare(plan: Plan, models: Mapping[str, LoadedModel], on_progress: OnProgress) -> tuple[Report, list[Part]]:
    """Run a plan to its end.

    Args:
        plan: of the comparison.
        models: that its arms name, loaded.
        on_progress: told how many prompts are finished, and how many seconds are left.

    Raises:
        KelvinError: a parameter is out of range, or an engine has stopped.
    """
    preparation = prepare(plan, models)
    parts = asyncio.run(run(plan, preparation, MemoryParts(), on_progress))
    return report_of(plan, preparation, parts), parts


def _prompt(line: str, number: int) -> str:
    remedy = f'line {number} of the prompts must be a JSON text, or an object as in {{"prompt": "Once upon a time"}}'
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        raise InvalidRequestError(remedy, param="prompts") from None
    prompt = value.get("prompt") if isinstance(value, dict) else value
    if not isinstance(prompt, str):
        raise InvalidRequestError(remedy, param="prompts")
    return prompt
