"""Files: those that a plan names, read, and held against one another."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, Literal

from server.finetuning.data.faults import BadLines, DataError, LineError, clipped
from server.finetuning.data.reading import read_rows
from server.finetuning.data.rows import Rows
from server.finetuning.plan import NUMERIC_METHODS, TEXT_METHODS, Plan

FileField = Literal["training_file", "validation_file", "test_file"]
Files = Mapping[FileField, Rows]
PathOf = Callable[[str], Path]

FIELDS: Final[tuple[FileField, ...]] = ("training_file", "validation_file", "test_file")
MOST_CLASSES: Final = 1_000
_LINES_IN_MESSAGE = 3


def read_file(plan: Plan, field: FileField, path_of: PathOf) -> Rows | None:
    """Read one of a plan's files; None where the plan names none.

    Args:
        plan: that names it.
        field: of the plan.
        path_of: a file's path by its id.

    Raises:
        NotFoundError: there is no such file.
        DataError: the file as a whole cannot be read; `param` is the field.
    """
    file_id = getattr(plan, field)
    if file_id is None:
        return None
    try:
        rows = read_rows(path_of(file_id))
        if not len(rows) and not rows.bad.total:
            raise DataError("no_rows", "the file has a header and no rows; give one labelled row a line")
    except DataError as error:
        raise DataError(error.code, f"{field}: {error.message}", param=field) from error
    return rows


def classes_of(rows: Rows) -> tuple[str, ...]:
    """Return the names of the classes, in order.

    Args:
        rows: of the training file.

    Raises:
        DataError: there are fewer than 2 or more than 1,000.
    """
    names = set(rows.labels)
    if len(names) < 2:
        raise DataError(
            "too_few_classes",
            "training_file has rows of a single class; give rows of at least 2",
            param="training_file",
        )
    if len(names) > MOST_CLASSES:
        raise DataError(
            "too_many_classes",
            f"training_file has {len(names):,} different labels; give classes, at most {MOST_CLASSES:,}",
            param="training_file",
        )
    return in_order(names)


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Sort names of classes: by number where all are integers, else as text."""
    if all(name.removeprefix("-").isdecimal() and name.isascii() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def require_method(plan: Plan, files: Files) -> None:
    """Refuse rows that the plan's method cannot read, and files whose rows are not alike.

    Raises:
        DataError: they are not of one kind and shape, or not of the method's.
    """
    wanted = "text" if plan.method in TEXT_METHODS else "features"
    first = files["training_file"]
    for field, rows in files.items():
        if rows.kind is not None and rows.kind != wanted:
            others = ", ".join(NUMERIC_METHODS if wanted == "text" else TEXT_METHODS)
            raise DataError(
                "wrong_inputs",
                f"{plan.method} reads {wanted}, and {field} has {rows.kind}; choose another method_name ({others})",
                param="method_name",
            )
        if rows.shape != first.shape and None not in (rows.kind, first.kind):
            raise DataError(
                "wrong_inputs",
                f"rows of {field} have the shape {list(rows.shape)}, and those of training_file {list(first.shape)}; "
                "give both the same",
                param=field,
            )


def unknown_classes(rows: Rows, classes: tuple[str, ...]) -> BadLines:
    """Note each row of a further file whose class the training file does not have.

    Args:
        rows: of the further file.
        classes: of the training file.
    """
    known, bad = set(classes), BadLines()
    for line, label in zip(rows.lines, rows.labels, strict=True):
        if label not in known:
            problem = f"training_file has no class {clipped(label)}; give it some rows, or leave this one out"
            bad.add(line, LineError("unknown_class", problem, field="label"))
    return bad


def lines_error(field: FileField, bad: BadLines) -> DataError:
    """Describe bad lines as an error: the first ones, and how many there are.

    Args:
        field: that names the file.
        bad: at least one line.
    """
    first = "; ".join(f"line {line.line}: {line.message}" for line in bad.shown[:_LINES_IN_MESSAGE])
    more = "" if bad.total <= _LINES_IN_MESSAGE else f"; and {bad.total - _LINES_IN_MESSAGE:,} more"
    count = "1 line" if bad.total == 1 else f"{bad.total:,} lines"
    return DataError("invalid_lines", f"{field} has {count} that cannot be used: {first}{more}", param=field)
