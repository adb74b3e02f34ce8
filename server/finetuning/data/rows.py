"""Rows: what is read of one file, row by row, each one checked before it counts."""

from array import array
from typing import Final, Literal

import numpy as np

from server.finetuning.data.faults import BadLines, DataError, LineError

MOST_ROWS: Final = 1_000_000
MOST_TEXT: Final = 131_072  # characters
MOST_LABEL: Final = 200  # characters

Kind = Literal["text", "features"]


class Rows:
    """The good rows of a file, in its order, and its bad lines.

    Attributes:
        format: of the file.
        kind: of the rows, all alike; None: there is no good one yet.
        texts: of rows of kind `text`.
        shape: of each row of kind `features`.
        labels: one a row.
        lines: number of each row's line.
        bad: what is wrong with the others.
        ignored: columns or keys that nothing is made of, up to 50.
    """

    def __init__(self, format: Literal["jsonl", "csv"]) -> None:
        self.format = format
        self.kind: Kind | None = None
        self.texts: list[str] = []
        self.shape: tuple[int, ...] = ()
        self.labels: list[str] = []
        self.lines = array("q")
        self.bad = BadLines()
        self.ignored: set[str] = set()
        self._features = array("f")
        self._known_labels: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def add(self, line: int, content: object, label: object) -> None:
        """Take a row.

        Args:
            line: number of its line.
            content: a text, or features: float32 of any shape, which the first row sets for all.
            label: a string, or an integer, which stands for its digits.

        Raises:
            LineError: the row cannot be trained on.
            DataError: there are too many rows.
        """
        if len(self) == MOST_ROWS:
            raise DataError("too_many_rows", f"the file has more than {MOST_ROWS:,} rows; give a sample of them")
        if isinstance(content, np.ndarray):
            self._require_alike("features", content.shape)
            name = _label(label)
            self._features.frombytes(content.tobytes())
        else:
            text = _text(content)
            self._require_alike("text", ())
            name = _label(label)
            self.texts.append(text)
        self.labels.append(self._known_labels.setdefault(name, name))
        self.lines.append(line)
        self.kind, self.shape = ("features", content.shape) if isinstance(content, np.ndarray) else ("text", ())

    @property
    def inputs(self) -> list[str] | np.ndarray:
        """All texts; or the features, float32 [rows, …]."""
        if self.kind != "features":
            return self.texts
        return np.frombuffer(self._features, np.float32).reshape(len(self), *self.shape)

    def _require_alike(self, kind: Kind, shape: tuple[int, ...]) -> None:
        if self.kind not in (kind, None):
            raise LineError("mixed_rows", f"has {kind}, and the first row has {self.kind}; give one or the other")
        if self.kind is not None and shape != self.shape:
            raise LineError(
                "wrong_shape",
                f"features have the shape {list(shape)}, and those of the first row {list(self.shape)}; "
                "give all rows the same",
                field="features",
            )


def _text(content: object) -> str:
    if not isinstance(content, str):
        raise LineError("wrong_type", "text must be a string", field="text")
    if not content.strip():
        raise LineError("empty_text", "text is empty; leave the row out", field="text")
    if len(content) > MOST_TEXT:
        raise LineError("too_long", f"text has more than {MOST_TEXT:,} characters; shorten it", field="text")
    _require_encodable(content, "text")
    return content


def _label(label: object) -> str:
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise LineError("wrong_type", "label must be a string or an integer", field="label")
    if isinstance(label, int):
        label = str(label) if abs(label) < 10**MOST_LABEL else "9" * (MOST_LABEL + 1)
    if not label.strip():
        raise LineError("empty_label", "label is empty; name the row's class", field="label")
    if len(label) > MOST_LABEL:
        raise LineError("too_long", f"label has more than {MOST_LABEL} characters; name the class", field="label")
    _require_encodable(label, "label")
    return label


def _require_encodable(text: str, field: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise LineError(
            "not_utf8", f"{field} holds what is no character of UTF-8; save the file as UTF-8", field=field
        ) from None
