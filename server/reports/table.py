"""Table: numbers and intervals as cells of HTML."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Interval(Protocol):
    """The ends of a confidence interval."""

    @property
    def low(self) -> float:
        """Return the lower end."""

    @property
    def high(self) -> float:
        """Return the upper one."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, marked: bool = False, kind: str = "") -> str:
    """Write a table; columns of numbers are set to the right.

    Args:
        head: HTML of the columns' names.
        rows: HTML of their cells; the first one names its row.
        marked: whether the rows stand out.
        kind: class of the table.
    """
    rows = list(rows)
    numeric = [place > 0 and all(_is_number(row[place]) for row in rows) for place in range(len(head))]
    classes = [' class="number"' if own else "" for own in numeric]
    top = "".join(f'<th scope="col"{own}>{cell}</th>' for own, cell in zip(classes, head, strict=True))
    body = "".join(_row(row, classes, marked) for row in rows)
    return f'<div class="scroll"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(cells: Sequence[str], classes: Sequence[str], marked: bool) -> str:
    first, *rest = cells
    written = "".join(f"<td{own}>{cell}</td>" for own, cell in zip(classes[1:], rest, strict=True))
    return f'<tr{" class=differs" * marked}><th scope="row">{first}</th>{written}</tr>'


def _is_number(cell: str) -> bool:
    return not cell.strip("0123456789.,+−–[]&lt;/% ")


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Write a number; None is a dash."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def with_interval(value: float | None, interval: Interval | None, digits: int = 3) -> str:
    """Write a number and its interval, where it has one."""
    if value is None or interval is None:
        return number(value, digits)
    return f"{number(value, digits)} [{number(interval.low, digits)}, {number(interval.high, digits)}]"


def plain(value: Any) -> str:
    """Return a parameter as text: a string as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
