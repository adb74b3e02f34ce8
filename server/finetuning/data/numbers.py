"""Numbers: a row's features, from nested lists of JSON or the cells of CSV, as float32."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from server.finetuning.data.faults import LineError, clipped

MOST_AXES: Final = 3  # height, width, channels
_LIMIT = "is not finite in float32; give numbers of at most 3.4e38, neither NaN nor infinity"
_KINDS = {str: "a string", bool: "true or false", type(None): "null", dict: "an object", list: "a list"}


def features_of(value: Any) -> np.ndarray:
    """Return what `features` of a JSON object holds, float32 of 1 to 3 axes.

    Args:
        value: a list of numbers, or an image: [height][width] or [height][width][channels].

    Raises:
        LineError: it is none of these, empty, ragged, or holds something that is no finite number.
    """
    shape, numbers = _flattened(value)
    if not set(map(type, numbers)) <= {int, float}:
        place = next(place for place, number in enumerate(numbers) if type(number) not in (int, float))
        kind = _KINDS.get(type(numbers[place]), "something else")
        raise _fault("not_a_number", f"hold {kind} as number {place + 1}; give numbers alone")
    array = _as_float32(numbers)
    if not np.all(np.isfinite(array)):
        raise _fault("not_finite", f"number {np.argmin(np.isfinite(array)) + 1} {_LIMIT}")
    return array.reshape(shape)


def cells_of(cells: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """Return the numbers of a row of CSV, float32 [columns].

    Args:
        cells: as they stand there.
        columns: their names.

    Raises:
        LineError: a cell is no finite number; its field is the column.
    """
    numbers = [_number(cell, column) for cell, column in zip(cells, columns, strict=True)]
    array = _as_float32(numbers)
    if not np.all(np.isfinite(array)):
        column = columns[int(np.argmin(np.isfinite(array)))]
        raise LineError("not_finite", f"column {clipped(column)} {_LIMIT}", field=column)
    return array


def _flattened(value: Any) -> tuple[list[int], list[Any]]:
    """Return the lengths of the lists, from the outermost on, and what the innermost ones hold."""
    if not isinstance(value, list):
        raise _fault("wrong_type", f"must be a list of numbers, not {_KINDS.get(type(value), 'a number')}")
    shape, level = [len(value)], value
    while level and isinstance(level[0], list):
        if len(shape) == MOST_AXES:
            raise _fault(
                "wrong_shape", f"are nested more than {MOST_AXES} deep; give [height][width][channels] at most"
            )
        lengths = {len(part) if isinstance(part, list) else -1 for part in level}
        if len(lengths) > 1:
            raise _fault("wrong_shape", "are ragged; give all its lists the same length")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    if not level:
        raise _fault("wrong_shape", "are empty; give at least one number")
    return shape, level


def _number(cell: str, column: str) -> float:
    try:
        return float(cell.replace("_", "?"))  # Python reads 1_000 as a number, and nobody else does
    except ValueError as error:
        problem = "is not a number" if cell.strip() else "is empty"
        remedy = "give a number in every row; a column of texts is called text"
        raise LineError("not_a_number", f"column {clipped(column)} {problem}; {remedy}", field=column) from error


def _as_float32(numbers: Sequence[int | float]) -> np.ndarray:
    """Convert; what is too great becomes infinite."""
    try:
        array = np.array(numbers, np.float64)
    except OverflowError:  # an integer beyond float64
        array = np.array([number if abs(number) < 1e300 else np.inf for number in numbers], np.float64)
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _fault(code: str, message: str) -> LineError:
    return LineError(code, f"features {message}", field="features")
