"""Reading: a file of labelled rows, line by line, in whichever of the formats it is."""

from pathlib import Path

from server.finetuning.data.csv_table import read_csv
from server.finetuning.data.faults import DataError
from server.finetuning.data.jsonl import read_jsonl
from server.finetuning.data.lines import open_format
from server.finetuning.data.rows import Rows


def read_rows(path: Path) -> Rows:
    """Read a file's rows; what is wrong with single lines is noted and stops nothing.

    JSONL has an object a line, `text` (a string) or `features` (a list of numbers, or an image as nested lists) beside
    `label`; CSV has a header, and `text` and `label`, or `label` and columns of numbers. Both are UTF-8. The file is
    never held as a whole: what stays is the rows.

    Args:
        path: of the file.

    Raises:
        DataError: the file as a whole cannot be read.
    """
    try:
        with path.open("rb") as file:
            rows = Rows(open_format(file))
            (read_jsonl if rows.format == "jsonl" else read_csv)(file, rows)
    except OSError as error:
        raise DataError("unreadable", f"the file cannot be read: {error.strerror}; upload it again") from error
    return rows
