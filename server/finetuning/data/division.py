"""Division: the rows of a plan's files as the parts of a data set, no row in two of them."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from server.finetuning.data.allotment import allot, keys_of
from server.finetuning.data.faults import DataError, clipped
from server.finetuning.data.files import FileField, Files
from server.finetuning.data.rows import Rows
from server.finetuning.examples import Examples, Splits
from server.finetuning.plan import Plan

PartName = Literal["train", "validation", "calibration", "test"]
VALIDATION_SHARE: Final = 0.1
TEST_SHARE: Final = 0.1
PARTS: Final[tuple[PartName, ...]] = ("train", "validation", "calibration", "test")
_OWN_FILES: Final[tuple[tuple[FileField, PartName], ...]] = (("validation_file", "validation"), ("test_file", "test"))

Chosen = tuple[FileField, np.ndarray]  # a part's file, and numbers of its rows there


@dataclass(frozen=True, slots=True)
class Division:
    """Parts, and what was seen on the way.

    Attributes:
        splits: the parts.
        duplicates: rows of each file that hold the same as an earlier one.
        conflicts: rows of the training file that hold the same as others of another class.
        leaks: rows left out of training, or validation, because a file for validation or test has the same.
    """

    splits: Splits
    duplicates: dict[FileField, int]
    conflicts: int
    leaks: int


def divide(plan: Plan, files: Files, classes: tuple[str, ...]) -> Division:
    """Put rows into parts; which part a row is in depends on the seed and on what the rows hold, not on their order.

    Of the training file 10 % go to validation and 10 % to the test, where no file is given for them, the plan's share
    to calibration, if anything is fitted and networks are not cross-fitted, and the rest to training. Rows that hold
    the same are one row for this: they are in the same part. A row that a given file has too is in the part of that
    file alone.

    Args:
        plan: names the seed and the shares.
        files: that the plan names, each with rows, all alike.
        classes: of the training file; those of the others are among them.

    Raises:
        DataError: a part, or a class in the training part, is left without rows.
    """
    keys = {field: keys_of(rows.inputs, plan.seed) for field, rows in files.items()}
    labels = {field: _numbered(rows, classes) for field, rows in files.items()}
    kept = _without_leaks(keys)
    own = np.flatnonzero(kept["training_file"])
    wanted = _shares(plan)
    if not len(own):
        raise DataError(
            "no_rows",
            "every row of training_file is in the other files too; give rows of its own",
            param="training_file",
        )
    parts = allot(labels["training_file"][own], keys["training_file"][own], list(wanted.values()))
    chosen: dict[PartName, Chosen] = {"train": ("training_file", own[parts == -1])}
    for place, name in enumerate(wanted):
        chosen[name] = ("training_file", own[parts == place])
    for field, name in _OWN_FILES:
        if field in files:
            chosen[name] = (field, np.flatnonzero(kept[field]))
    _require_rows(chosen, wanted)
    _require_classes(chosen["train"][1], labels["training_file"], classes)
    examples = {
        name: _examples(files[field], labels[field], keys[field], rows) for name, (field, rows) in chosen.items()
    }
    return Division(
        Splits(examples["train"], examples["validation"], examples["calibration"], examples["test"], classes),
        {field: len(found) - len(np.unique(found)) for field, found in keys.items()},
        _conflicts(keys["training_file"], labels["training_file"]),
        sum(int(np.sum(~mask)) for mask in kept.values()),
    )


def _shares(plan: Plan) -> dict[PartName, float]:
    """Return what share of the training file goes to which part, in the order in which they are drawn."""
    apart = plan.calibration.method != "none" and not plan.hyperparameters.cross_fitted
    return {
        "test": TEST_SHARE if plan.test_file is None else 0.0,
        "validation": VALIDATION_SHARE if plan.validation_file is None else 0.0,
        "calibration": plan.calibration.fraction if apart else 0.0,
    }


def _without_leaks(keys: dict[FileField, np.ndarray]) -> dict[FileField, np.ndarray]:
    """Tell which rows stay: of rows that several files have, those of the test file, else of the validation file."""
    kept, taken = {}, np.zeros(0, np.uint64)
    for field in ("test_file", "validation_file", "training_file"):
        if field in keys:
            kept[field] = ~np.isin(keys[field], taken)
            taken = np.concatenate([taken, keys[field]])
    return kept


def _numbered(rows: Rows, classes: tuple[str, ...]) -> np.ndarray:
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places[label] for label in rows.labels], np.int64)


def _examples(rows: Rows, labels: np.ndarray, keys: np.ndarray, chosen: np.ndarray) -> Examples:
    """Take rows in the order of their keys, so that nothing depends on that of the file."""
    return Examples(rows.inputs, labels).take(chosen[np.lexsort((labels[chosen], keys[chosen]))])


def _conflicts(keys: np.ndarray, labels: np.ndarray) -> int:
    """Count the rows of keys that several labels have."""
    pairs = np.unique(np.stack([keys, labels.astype(np.uint64)], axis=1), axis=0)
    found, counts = np.unique(pairs[:, 0], return_counts=True)
    return int(np.isin(keys, found[counts > 1]).sum())


def _require_rows(chosen: dict[PartName, Chosen], wanted: dict[PartName, float]) -> None:
    for name, (field, rows) in chosen.items():
        if not len(rows) and (field != "training_file" or wanted.get(name) != 0):
            raise DataError(
                "too_few_rows",
                f"{field} has too few different rows for the part for {name}; give about 10 of each class or more",
                param=field,
            )


def _require_classes(rows: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    missing = np.flatnonzero(np.bincount(labels[rows], minlength=len(classes)) == 0)
    if len(missing):
        raise DataError(
            "too_few_rows",
            f"no row of class {clipped(classes[missing[0]])} is left for training: those there are have another label "
            "too, or are in another file; give further ones",
            param="training_file",
        )
