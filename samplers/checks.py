"""Checks of one value of a sampling parameter: what it must be, and an error that names it where it is not."""

import sys
from typing import Any

MAX_INT32 = 2**31 - 1


class SamplingParamsError(ValueError):
    """A sampling parameter is out of its range; `param` names it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


def require_float(
    param: str,
    value: Any,
    *,
    low: float,
    high: float = sys.float_info.max,
    above: bool = False,
    name: str | None = None,
) -> None:
    """Refuse what is no finite number from `low` (or above it) to `high`; NaN and booleans are none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (above and value == low):  # NaN is within no bounds
        least = f"above {low:g}" if above else f"at least {low:g}"
        limit = least if high == sys.float_info.max else f"from {low:g} to {high:g}"
        raise SamplingParamsError(param, f"{name or param} must be a finite number {limit}; it is {shown(value)}")


def require_int(param: str, value: Any, *, low: int, high: int) -> None:
    """Refuse what is no integer from `low` to `high`; booleans are none."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not low <= value <= high:
        raise SamplingParamsError(param, f"{param} must be an integer from {low} to {high}; it is {shown(value)}")


def require_ids(param: str, value: Any, *, most: int | None = None) -> None:
    """Refuse what is no tuple of at most `most` token ids, each an integer from 0 to the largest of 32 bits."""
    require_type(param, value, tuple, "a tuple of token ids")
    if most is not None:
        require_count(param, value, most=most, kind="ids")
    for token_id in value:
        require_int(param, token_id, low=0, high=MAX_INT32)


def require_count(param: str, value: Any, *, most: int, kind: str) -> None:
    """Refuse what holds more than `most` members; `kind` is what they are called."""
    if len(value) > most:
        raise SamplingParamsError(param, f"{param} may hold at most {most} {kind}; it holds {len(value)}")


def require_type(param: str, value: Any, kind: type, meaning: str) -> None:
    """Refuse what is no `kind`; `meaning` says it in words."""
    if not isinstance(value, kind):
        raise SamplingParamsError(param, f"{param} must be {meaning}; it is {shown(value)}")


def require_one_of(param: str, value: Any, names: tuple[str, ...]) -> None:
    """Refuse what is none of two or more `names`."""
    if value not in names:
        *others, last = (repr(name) for name in names)
        raise SamplingParamsError(param, f"{param} must be {', '.join(others)} or {last}")


def shown(value: Any) -> str:
    """Write a short value as it is, and of anything that may be long only what it is."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return "beyond 64 bits"
    if value is None or isinstance(value, int | float):
        return str(value)
    return f"a value of type {type(value).__name__}"
