"""Arms as the command line spells them: `NAME:FIELD=VALUE,…`, sweeps of a field, and presets."""

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import takewhile
from typing import Any

from server.api.schemas.compare import MAX_ARMS
from server.errors import InvalidRequestError

# The three bands of temperature that practitioners speak of, each at three points.
PRESETS: dict[str, tuple[float, ...]] = {
    "conservative": (0.3, 0.5, 0.7),
    "balanced": (1.0, 1.25, 1.5),
    "brainstorm": (1.6, 1.8, 2.0),
}
_FIELD = re.compile(r"\s*([a-z_][a-z0-9_]*)=")
_JSON = json.JSONDecoder()


def read_arms(spelt: Sequence[str], sweeps: Sequence[str], presets: Sequence[str]) -> list[dict[str, Any]]:
    """Read all arms of a command line, in this order.

    Args:
        spelt: such as `hot:temperature=1.2,top_p=0.9`.
        sweeps: such as `temperature=0.3:1.5:0.2`.
        presets: names of PRESETS.

    Raises:
        InvalidRequestError: one is spelt otherwise; the message shows the right way.
    """
    arms = [read_arm(text) for text in spelt]
    arms += [arm for text in sweeps for arm in read_sweep(text)]
    return arms + [arm for name in presets for arm in preset_arms(name)]


def read_arm(text: str) -> dict[str, Any]:
    """Read an arm: a name, a colon, and fields of sampling; a name alone is the model as it is.

    Args:
        text: values are JSON, such as `stop=["a", "b"]`; what is no JSON is a text.

    Raises:
        InvalidRequestError: it is spelt otherwise, or gives a field twice.
    """
    name, _, rest = text.partition(":")
    if not name.strip():
        raise _misspelt("--arm", "cold:temperature=0.5,top_p=0.9")
    arm = {"name": name.strip()}
    for field, value in _fields(rest):
        if field in arm:
            raise InvalidRequestError(f"--arm {arm['name']} gives {field} twice; leave one of them out", param="arms")
        arm[field] = value
    return arm


def read_sweep(text: str) -> list[dict[str, Any]]:
    """Read a sweep of a field, `FIELD=FIRST:LAST:STEP`, both ends among the values where the step meets them.

    Args:
        text: decimal numbers, added without rounding.

    Raises:
        InvalidRequestError: it is spelt otherwise, or has more than 16 values.
    """
    field, _, spread = text.partition("=")
    try:
        first, last, step = map(Decimal, spread.split(":"))
    except (ValueError, InvalidOperation):
        raise _misspelt("--sweep", "temperature=0.3:1.5:0.2") from None
    if not (first.is_finite() and last.is_finite() and step.is_finite()) or step <= 0 or last < first:
        raise _misspelt("--sweep", "temperature=0.3:1.5:0.2, which rises")
    rising = (first + step * number for number in range(MAX_ARMS + 1))
    values = list(takewhile(lambda value: value <= last, rising))
    if len(values) > MAX_ARMS:
        raise InvalidRequestError(
            f"--sweep {field} has more than {MAX_ARMS} values, and no more arms may be compared; take a greater step",
            param="arms",
        )
    return [{"name": f"{field.strip()}={value}", field.strip(): _JSON.decode(str(value))} for value in values]


def preset_arms(name: str) -> list[dict[str, Any]]:
    """Return a preset's arms: one band of temperatures.

    Raises:
        InvalidRequestError: there is none of this name.
    """
    if name not in PRESETS:
        raise InvalidRequestError(f"--preset must be one of {', '.join(PRESETS)}", param="arms")
    return [{"name": f"{name} {temperature:g}", "temperature": temperature} for temperature in PRESETS[name]]


def _fields(text: str) -> Iterator[tuple[str, Any]]:
    while text.strip():
        match = _FIELD.match(text)
        if match is None:
            raise _misspelt("--arm", "cold:temperature=0.5,top_p=0.9")
        value, text = _value(text[match.end() :])
        yield match[1], value


def _value(text: str) -> tuple[Any, str]:
    """Read a value; return it and what follows its comma."""
    try:
        value, end = _JSON.raw_decode(text)
    except json.JSONDecodeError:
        return _word(text)
    rest = text[end:].lstrip()
    return (value, rest[1:]) if rest[:1] in ("", ",") else _word(text)


def _word(text: str) -> tuple[str, str]:
    """Read a text without quotes, likewise."""
    word, _, rest = text.partition(",")
    return word.strip(), rest


def _misspelt(option: str, example: str) -> InvalidRequestError:
    return InvalidRequestError(f"{option} is spelt as in {option} {example}", param="arms")
