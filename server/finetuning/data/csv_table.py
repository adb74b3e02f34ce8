"""CSV: a header, then one row a record; columns `text` and `label`, or numbers and `label`."""

import csv
from collections.abc import Iterator
from typing import IO

from server.finetuning.data.faults import DataError, LineError, clipped
from server.finetuning.data.lines import MOST_BYTES, numbered_lines
from server.finetuning.data.numbers import cells_of
from server.finetuning.data.rows import Rows

_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FIELD_NAME = 64  # characters of a column's name in a report


def read_csv(file: IO[bytes], rows: Rows) -> None:
    """Read the header and all records (RFC 4180: commas, double quotes, any line ends); blank lines are no rows.

    Args:
        file: behind its byte order mark.
        rows: take what is good, and note what is not.

    Raises:
        DataError: the header does not say which columns are what, or there are too many rows.
    """
    reader = csv.reader(_decoded(file), strict=True)
    columns: _Columns | None = None
    while True:
        start = reader.line_num + 1
        try:
            record = next(reader)
            if record and columns is None:
                columns = _Columns(record, rows)
            elif record and columns is not None:
                rows.add(start, *columns.row(record))
        except StopIteration:
            return
        except csv.Error as error:
            rows.bad.add(start, _fault(error))
            if columns is None or "field larger" in str(error):
                return  # the quotes that follow cannot be told apart
        except LineError as fault:
            rows.bad.add(start, fault)


class _Columns:
    """What the columns of a table are."""

    def __init__(self, header: list[str], rows: Rows) -> None:
        self._names = [name.strip() for name in header]
        self._refuse_bad_header()
        self._label = self._names.index("label")
        self._text = self._names.index("text") if "text" in self._names else None
        others = [place for place in range(len(self._names)) if place not in (self._label, self._text)]
        if self._text is not None:
            rows.ignored |= {self._names[place] for place in others}
        self._numbers = others if self._text is None else []
        self._number_names = [self._names[place][:_FIELD_NAME] for place in self._numbers]

    def row(self, record: list[str]) -> tuple[object, str]:
        """Return a record's text or numbers, and its label."""
        if len(record) != len(self._names):
            raise LineError(
                "wrong_columns",
                f"the row has {len(record)} fields and the header {len(self._names)}; quote fields that have commas",
            )
        label = record[self._label]
        if self._text is not None:
            return record[self._text], label
        return cells_of([record[place] for place in self._numbers], self._number_names), label

    def _refuse_bad_header(self) -> None:
        names = self._names
        if not all(map(_is_encodable, names)):
            raise DataError("not_utf8", "the header is not UTF-8; save the file as UTF-8")
        for wanted in ("label", "text"):
            near = next((name for name in names if name.casefold() == wanted), None)
            if near is not None and wanted not in names:
                raise DataError("missing_column", f"call the column {wanted}, in small letters, not {clipped(near)}")
        if "label" not in names:
            raise DataError("missing_column", f"the header names no column label; {_advice(names)}")
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise DataError("repeated_column", f"the header names {clipped(twice)} twice; name each column once")
        if len(names) == 1:
            raise DataError("missing_column", "label is the only column; add a column text, or columns of numbers")


def _advice(names: list[str]) -> str:
    if len(names) == 1:
        for sign, word in _OTHER_DELIMITERS.items():
            if sign in names[0]:
                return f"separate the columns by commas instead of {word}"
    return "let the first line name the columns: text,label or those of numbers and label"


def _is_encodable(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _decoded(file: IO[bytes]) -> Iterator[str]:
    for number, line in numbered_lines(file):
        if line is None:
            raise DataError("too_long", f"line {number} has more than {MOST_BYTES // 2**20} MiB; shorten it")
        yield line.decode("utf-8", "surrogateescape")  # so that what is not UTF-8 spoils its own row alone


def _fault(error: csv.Error) -> LineError:
    message = str(error)
    if "field larger" in message:
        problem = f"a field has more than {csv.field_size_limit():,} characters: perhaps a quote is left open; "
        return LineError("too_long", f"{problem}reading ended here")
    if "end of data" in message:
        return LineError("not_csv", "a quote is left open to the end of the file; close it")
    if "new-line character" in message:
        return LineError("not_csv", "a line ends in CR alone; end lines in LF or CRLF, and quote fields that have them")
    return LineError("not_csv", "text follows a closing quote; write a quote within a quoted field twice")
