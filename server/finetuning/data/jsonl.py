"""JSONL: one object a line, `text` or `features` beside `label`."""

import json
from collections import Counter
from typing import IO, Any

from server.finetuning.data.faults import LineError, clipped
from server.finetuning.data.lines import MOST_BYTES, numbered_lines
from server.finetuning.data.numbers import features_of
from server.finetuning.data.rows import Rows

_MOST_IGNORED = 50


def read_jsonl(file: IO[bytes], rows: Rows) -> None:
    """Read all lines; blank ones are no rows.

    Args:
        file: behind its byte order mark.
        rows: take what is good, and note what is not.

    Raises:
        DataError: there are too many rows.
    """
    for number, line in numbered_lines(file):
        if line is not None and not line.strip():
            continue
        try:
            content, label = _row(_object(line), rows)
            rows.add(number, content, label)
        except LineError as fault:
            rows.bad.add(number, fault)


def _object(line: bytes | None) -> dict[str, Any]:
    if line is None:
        raise LineError("too_long", f"the line has more than {MOST_BYTES // 2**20} MiB; shorten it")
    try:
        found = _DECODER.decode(line.decode("utf-8").rstrip())
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode("utf-8")) + 1
        problem = f"byte {error.start + 1} is not UTF-8; save the file as UTF-8"
        raise LineError("not_utf8", problem, column=column) from None
    except json.JSONDecodeError as error:
        problem = f"the line is not JSON: {error.msg} (column {error.colno})"
        raise LineError("not_json", problem, column=error.colno) from None
    except (ValueError, RecursionError):
        raise LineError("not_json", "the line is JSON that is too deep, or has a number of too many digits") from None
    if not isinstance(found, dict):
        raise LineError("not_an_object", 'the line is no JSON object; write {"text": "…", "label": "…"}')
    return found


def _row(found: dict[str, Any], rows: Rows) -> tuple[Any, Any]:
    if ("text" in found) == ("features" in found):
        problem = "text and features are both given" if "text" in found else "text is missing"
        raise LineError("missing_field", f"{problem}; give text, or features, and a label", field="text")
    if "label" not in found:
        raise LineError("missing_field", "label is missing; name the row's class", field="label")
    if len(found) > 2 and len(rows.ignored) < _MOST_IGNORED:
        rows.ignored |= found.keys() - {"text", "features", "label"}
    content = found["text"] if "text" in found else features_of(found["features"])
    return content, found["label"]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise LineError("repeated_key", f"the key {clipped(twice)} is given more than once; give each once")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)  # made once, which saves a tenth of the time
