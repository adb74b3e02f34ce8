"""Checking: everything that a look at a plan's files finds, wrong or not, before anything is trained."""

import math
from collections import Counter

import numpy as np

from server.finetuning.data.division import PARTS, Division, PartName, divide
from server.finetuning.data.faults import BadLines, DataError
from server.finetuning.data.files import (
    FIELDS,
    FileField,
    PathOf,
    classes_of,
    in_order,
    lines_error,
    read_file,
    require_method,
    unknown_classes,
)
from server.finetuning.data.findings import FileBadLine, Findings, Problem
from server.finetuning.data.folds import folds_of
from server.finetuning.data.oddities import foreseen, oddities, rare_classes
from server.finetuning.data.rows import Rows
from server.finetuning.examples import Splits
from server.finetuning.plan import Plan


def check(plan: Plan, path_of: PathOf) -> Findings:
    """Read a plan's files as `load_splits` does, and tell everything that is found, wrong or not.

    Args:
        plan: what would be trained on what.
        path_of: a file's path by its id; what it raises is passed on.
    """
    look = _Look()
    look.read(plan, path_of)
    return _findings(plan, look, look.divide(plan))


class _Look:
    """A look at files that goes on after an error, as far as the rest makes sense."""

    def __init__(self) -> None:
        self.files: dict[FileField, Rows] = {}
        self.errors: list[DataError] = []
        self.bad: list[tuple[FileField, BadLines]] = []

    def read(self, plan: Plan, path_of: PathOf) -> None:
        for field in FIELDS:
            try:
                rows = read_file(plan, field, path_of)
            except DataError as error:
                self.errors.append(error)
                continue
            if rows is not None:
                self.files[field] = rows
                self._note(field, rows.bad)

    def divide(self, plan: Plan) -> Division | None:
        """Split the rows that can be used; None where they cannot be split."""
        if "training_file" not in self.files or not len(self.files["training_file"]):
            return None
        try:
            require_method(plan, self.files)
            classes = classes_of(self.files["training_file"])
            unknown = {field: unknown_classes(rows, classes) for field, rows in self.files.items()}
            for field, bad in unknown.items():
                self._note(field, bad)
            if any(bad.total for bad in unknown.values()):
                return None
            complete = len(self.files) == sum(getattr(plan, field) is not None for field in FIELDS)
            return divide(plan, self.files, classes) if complete and all(map(len, self.files.values())) else None
        except DataError as error:
            self.errors.append(error)
            return None

    def _note(self, field: FileField, bad: BadLines) -> None:
        if bad.total:
            self.bad.append((field, bad))
            self.errors.append(lines_error(field, bad))


def _findings(plan: Plan, look: _Look, division: Division | None) -> Findings:
    training = look.files.get("training_file")
    counted = Counter(() if training is None else training.labels)
    counts = {name: counted[name] for name in in_order(counted)}
    per_code = Counter[str]()
    for _, bad in look.bad:
        per_code.update(bad.counts)
    steps = [] if division is None else _steps(plan, division.splits)
    return Findings(
        valid=not look.errors,
        errors=[Problem(code=error.code, message=error.message, param=error.param) for error in look.errors],
        warnings=[] if division is None else [*oddities(look.files, division), *foreseen(plan, division)],
        rows={field: len(rows) for field, rows in look.files.items()},
        bad_lines=[FileBadLine(file=field, **line.model_dump()) for field, bad in look.bad for line in bad.shown],
        bad_line_count=sum(per_code.values()),
        bad_line_counts=dict(per_code),
        empty_texts=per_code["empty_text"],
        input=None if training is None else training.kind,
        shape=list(training.shape) if training is not None and training.kind == "features" else None,
        class_counts=counts,
        splits={} if division is None else {part: len(getattr(division.splits, part)) for part in PARTS},
        split_counts={} if division is None else _split_counts(division.splits),
        duplicates=None if division is None else sum(division.duplicates.values()),
        conflicts=None if division is None else division.conflicts,
        leaks=None if division is None else division.leaks,
        rare_classes=rare_classes(counts),
        steps_per_epoch=steps[0] if steps else None,
        steps=sum(steps) * plan.hyperparameters.n_epochs if steps else None,
        search_trainings=0 if plan.search is None else plan.search.n_trials * plan.search.folds,
    )


def _steps(plan: Plan, splits: Splits) -> list[int]:
    """Count the optimiser steps of each network's pass over the rows it learns from."""
    folds, size = folds_of(plan, splits.train), plan.hyperparameters.batch_size
    return [math.ceil(len(folds.learned_by(number)) / size) for number in range(plan.hyperparameters.ensemble)]


def _split_counts(splits: Splits) -> dict[PartName, dict[str, int]]:
    counts = {part: np.bincount(getattr(splits, part).labels, minlength=len(splits.classes)) for part in PARTS}
    return {part: dict(zip(splits.classes, found.tolist(), strict=True)) for part, found in counts.items()}
