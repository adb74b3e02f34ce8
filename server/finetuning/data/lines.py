"""Lines of a file of bytes: numbered, of bounded length, in UTF-8 or refused by the name of what they are instead."""

from collections.abc import Iterator
from typing import IO, Final, Literal

from server.finetuning.data.faults import DataError

MOST_BYTES: Final = 8 * 2**20  # of a line; an image of 224 x 224 x 3 takes about 1 MB
_BOM = b"\xef\xbb\xbf"
_BLOCK = 65_536
_FOREIGN = (
    (b"\xff\xfe", "UTF-16 or UTF-32", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16", "save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "UTF-32", "save it as UTF-8"),
    (b"PK\x03\x04", "a ZIP archive or a workbook", "unpack it, or save the sheet as CSV"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it"),
    (b"BZh", "compressed with bzip2", "unpack it"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it"),
    (b"PAR1", "Parquet", "write it as JSONL"),
    (b"ARROW1", "Arrow", "write it as JSONL"),
)


def open_format(file: IO[bytes]) -> Literal["jsonl", "csv"]:
    """Tell what a file is from its beginning, and leave it there, behind a byte order mark.

    Args:
        file: at its beginning, seekable.

    Raises:
        DataError: it is neither JSONL nor CSV, or has no line.
    """
    start = file.read(_BLOCK)
    for mark, kind, remedy in _FOREIGN:
        if start.startswith(mark):
            raise DataError("unknown_format", f"the file is {kind}; {remedy}")
    start = start.removeprefix(_BOM)
    file.seek(len(_BOM) if _begins_with_mark(file) else 0)
    first = start.lstrip()[:1]
    if not first:
        raise DataError("no_rows", "the file has no rows; give one labelled row a line")
    if first == b"[":
        raise DataError("unknown_format", "the file is a JSON array; write one object a line, without brackets")
    if b"\x00" in start[:4]:
        raise DataError("unknown_format", "the file is UTF-16 or binary; save it as UTF-8")
    return "jsonl" if first == b"{" else "csv"


def numbered_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Yield each line with its number, from 1, its end included; None for one that is longer than 8 MiB."""
    number = 0
    while line := file.readline(MOST_BYTES + 1):
        number += 1
        if len(line) > MOST_BYTES and not line.endswith(b"\n"):
            _skip_line(file)
            yield number, None
        else:
            yield number, line


def _skip_line(file: IO[bytes]) -> None:
    while (rest := file.readline(_BLOCK)) and not rest.endswith(b"\n"):
        pass


def _begins_with_mark(file: IO[bytes]) -> bool:
    file.seek(0)
    return file.read(len(_BOM)) == _BOM
