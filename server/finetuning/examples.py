"""Examples: labelled rows, and the parts that they are split into."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled rows.

    Attributes:
        inputs: texts, or numeric rows as float32 [rows, …].
        labels: numbers of classes, int64 [rows].
    """

    inputs: Sequence[str] | np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Examples":
        """Return some of the rows, by their numbers, in that order."""
        if isinstance(self.inputs, np.ndarray):
            return Examples(self.inputs[rows], self.labels[rows])
        return Examples([self.inputs[row] for row in rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Splits:
    """The parts of a data set; no row is in two of them.

    Attributes:
        train: what weights are fitted to.
        validation: chooses the best epoch.
        calibration: the temperature is fitted to it; empty where nothing is fitted.
        test: judges, once.
        classes: names of the classes; a label is a place in it.
        warnings: what is odd about the rows, in sentences.
    """

    train: Examples
    validation: Examples
    calibration: Examples
    test: Examples
    classes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
