"""Loading: a plan's files as the parts that are trained on."""

from dataclasses import replace

from server.finetuning.data.division import divide
from server.finetuning.data.files import (
    FIELDS,
    PathOf,
    classes_of,
    lines_error,
    read_file,
    require_method,
    unknown_classes,
)
from server.finetuning.data.oddities import oddities
from server.finetuning.examples import Splits
from server.finetuning.plan import Plan


def load_splits(plan: Plan, path_of: PathOf) -> Splits:
    """Read a plan's files and split their rows.

    Args:
        plan: what is trained on what.
        path_of: a file's path by its id; what it raises is passed on.

    Raises:
        DataError: a line or a whole file cannot be used, or there are too few rows; `param` names the field.
    """
    files = {field: rows for field in FIELDS if (rows := read_file(plan, field, path_of)) is not None}
    for field, rows in files.items():
        if rows.bad.total:
            raise lines_error(field, rows.bad)
    require_method(plan, files)
    classes = classes_of(files["training_file"])
    for field, rows in files.items():
        if (bad := unknown_classes(rows, classes)).total:
            raise lines_error(field, bad)
    division = divide(plan, files, classes)
    return replace(division.splits, warnings=oddities(files, division))
