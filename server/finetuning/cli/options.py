"""Options: the command line's short forms of what a fine-tune's body says at length."""

import json
from collections.abc import Sequence
from typing import Any

from server.errors import InvalidRequestError


def read_temperature(text: str) -> dict[str, Any]:
    """Read a schedule, as in `1.5`, `linear:2.0:0.5`, `step:2:0.5:4` or `piecewise:0=2,0.5=1,1=0.5`.

    Raises:
        InvalidRequestError: it is none of these.
    """
    name, _, rest = text.partition(":")
    try:
        if name == "piecewise":
            return {"schedule": name, "points": [[float(part) for part in pair.split("=")] for pair in rest.split(",")]}
        if _is_number(name) and not rest:
            return {"schedule": "constant", "start": float(name)}
        parts = rest.split(":") if rest else []
        levels = {"steps": int(parts.pop(2))} if name == "step" and len(parts) == 3 else {}
        if len(parts) > (1 if name == "constant" else 2):
            raise ValueError
        return {"schedule": name} | dict(zip(("start", "end"), map(float, parts), strict=False)) | levels
    except ValueError:
        raise InvalidRequestError(
            "--temperature must be a number, or SCHEDULE:START:END as in linear:2.0:0.5 (step:START:END:LEVELS, "
            "piecewise:SHARE=TEMPERATURE,…)",
            param="temperature",
        ) from None


def read_search(text: str) -> dict[str, Any]:
    """Read a search, as in `tpe`, `tpe:15` or `grid:9:0.5:4`: algorithm, trials, and the range of temperatures.

    Raises:
        InvalidRequestError: it is none of these.
    """
    algorithm, *numbers = text.split(":")
    try:
        if len(numbers) not in (0, 1, 3):
            raise ValueError
        given = dict(zip(("n_trials", "low", "high"), numbers, strict=False))
        convert = {"n_trials": int, "low": float, "high": float}
        return {"algorithm": algorithm} | {name: convert[name](value) for name, value in given.items()}
    except ValueError:
        raise InvalidRequestError(
            "--search must be ALGORITHM:TRIALS or ALGORITHM:TRIALS:LOW:HIGH, as in tpe:15 or grid:9:0.5:4",
            param="search",
        ) from None


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` hyperparameters; a value is JSON, or a bare word.

    Raises:
        InvalidRequestError: one has no `=`, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in found:
            raise InvalidRequestError("--set must be NAME=VALUE, each name once, as in batch_size=8", param="set")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def read_served(text: str) -> str | float:
    """Read a serving temperature: `fitted`, `final` or a number."""
    return float(text) if _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
