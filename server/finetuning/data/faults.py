"""Faults: what is wrong with a line of a data set, or with the whole of it."""

from typing import Final

from pydantic import BaseModel, ConfigDict

from server.errors import InvalidRequestError

MOST_SHOWN: Final = 50
_CLIPPED: Final = 40  # characters of a name that a message repeats


class BadLine(BaseModel):
    """A line that cannot be trained on.

    Attributes:
        line: its number in the file, from 1; where a quoted field of CSV goes over several lines, that of the first.
        field: key or column that is wrong; None: the line as a whole.
        column: character, from 1, at which reading the line failed; None: it could be read.
        code: the case, for programs.
        message: the problem and the remedy; never what the line holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    line: int
    field: str | None
    column: int | None
    code: str
    message: str


class LineError(Exception):
    """A line cannot be trained on; whoever reads the file writes it down and goes on with the next."""

    def __init__(self, code: str, message: str, *, field: str | None = None, column: int | None = None) -> None:
        """Describe it.

        Args:
            code: as of BadLine.
            message: likewise.
            field: likewise.
            column: likewise.
        """
        super().__init__(message)
        self.code, self.message, self.field, self.column = code, message, field, column


class BadLines:
    """All bad lines of a file: the first ones kept, all of them counted.

    Attributes:
        shown: the first 50.
        counts: how many there are, by code.
    """

    def __init__(self) -> None:
        self.shown: list[BadLine] = []
        self.counts: dict[str, int] = {}

    def add(self, line: int, fault: LineError) -> None:
        """Write down a line's fault."""
        self.counts[fault.code] = self.counts.get(fault.code, 0) + 1
        if len(self.shown) < MOST_SHOWN:
            self.shown.append(
                BadLine(line=line, field=fault.field, column=fault.column, code=fault.code, message=fault.message)
            )

    @property
    def total(self) -> int:
        """How many lines are bad."""
        return sum(self.counts.values())


class DataError(InvalidRequestError):
    """A data set cannot be trained on; `param` names the plan's field that the file is given in."""

    def __init__(self, code: str, message: str, *, param: str | None = None) -> None:
        """Describe it.

        Args:
            code: the case, for programs.
            message: the problem and the remedy.
            param: field of the plan; a reader, who knows a path alone, leaves it to its caller.
        """
        super().__init__(message, param=param)
        self.code = code


def clipped(name: str) -> str:
    """Return a name out of somebody's file, quoted, cut to 40 characters, with nothing in it that cannot be printed."""
    return repr(name if len(name) <= _CLIPPED else f"{name[:_CLIPPED]}…").encode("utf-8", "replace").decode()
