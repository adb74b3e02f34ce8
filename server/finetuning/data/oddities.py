"""Oddities: what somebody should know of rows that can be trained on all the same."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from samplers.calibration import FEW_ROWS
from server.finetuning.data.division import PARTS, Division
from server.finetuning.data.faults import clipped
from server.finetuning.data.files import Files
from server.finetuning.data.folds import folds_of
from server.finetuning.plan import Plan

RARE: Final = 10  # rows; with fewer, a tenth of them is no row
_NAMED = 5


def rare_classes(counts: dict[str, int]) -> dict[str, int]:
    """Return the classes with fewer than 10 rows."""
    return {name: count for name, count in counts.items() if count < RARE}


def oddities(files: Files, division: Division) -> tuple[str, ...]:
    """Describe what is odd, a sentence each.

    Args:
        files: that were read.
        division: what was made of them.
    """
    return (*_of_rows(files, division), *_of_classes(division))


def foreseen(plan: Plan, division: Division) -> tuple[str, ...]:
    """Describe what a training would find, and its diagnoses would say again.

    Args:
        plan: says whether networks are cross-fitted.
        division: of the files.
    """
    fitted_to = len(division.splits.calibration)
    if plan.hyperparameters.cross_fitted:
        fitted_to = folds_of(plan, division.splits.train).num_rows
    if not 0 < fitted_to < FEW_ROWS:
        return ()
    return (f"the temperature will be fitted to {fitted_to} rows; it is uncertain below {FEW_ROWS}",)


def _of_rows(files: Files, division: Division) -> Iterator[str]:
    for field, count in division.duplicates.items():
        if count:
            yield f"{field}: {_rows(count)} the same as an earlier one; such rows are kept in one part"
    if division.conflicts:
        yield f"training_file: {_rows(division.conflicts)} the same as one of another class; decide which is right"
    if division.leaks:
        yield (
            f"{_rows(division.leaks)} the same as one of a file given for a later part, and left out; otherwise what "
            "was learnt would be asked in the test"
        )
    for field, rows in files.items():
        if rows.ignored:
            yield f"{field}: not used are {_named(sorted(rows.ignored))}"


def _of_classes(division: Division) -> Iterator[str]:
    names = division.splits.classes
    for part in PARTS:
        labels = getattr(division.splits, part).labels
        missing = [names[place] for place in np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0)]
        if missing and len(labels):
            yield f"the part for {part} has no row of {_named(missing)}; give about {RARE} rows of each class or more"
    alike = Counter(" ".join(name.casefold().split()) for name in names)
    twins = [name for name in names if alike[" ".join(name.casefold().split())] > 1]
    if twins:
        yield f"classes that differ in capitals or white space alone are different ones: {_named(twins)}"


def _rows(count: int) -> str:
    return "1 row holds" if count == 1 else f"{count:,} rows hold"


def _named(names: list[str]) -> str:
    shown = ", ".join(clipped(name) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
