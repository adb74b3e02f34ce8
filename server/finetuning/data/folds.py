"""Folds: which network of a cross-fitted ensemble leaves out which rows of the training part."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from server.finetuning.data.allotment import allot, keys_of
from server.finetuning.examples import Examples
from server.finetuning.plan import Plan

NO_FOLD: Final = -1


@dataclass(frozen=True, slots=True)
class Folds:
    """The fold of each row, as many folds as there are networks; without cross-fitting no row is in one.

    Attributes:
        numbers: of the network that leaves a row out, -1 where all learn from it; int64 [rows].
    """

    numbers: np.ndarray

    @property
    def num_rows(self) -> int:
        """Rows that some network leaves out."""
        return int(np.count_nonzero(self.numbers != NO_FOLD))

    def of(self, network: int) -> np.ndarray:
        """Return the numbers of the rows that a network leaves out, rising.

        Args:
            network: its number, from 0.
        """
        return np.flatnonzero(self.numbers == network)

    def learned_by(self, network: int) -> np.ndarray:
        """Return the numbers of the other rows, which it learns from, rising.

        Args:
            network: its number, from 0.
        """
        return np.flatnonzero(self.numbers != network)


def folds_of(plan: Plan, train: Examples) -> Folds:
    """Cut the training part into as many folds as the plan has networks, where they are cross-fitted.

    Every class has like shares of all folds; rows that hold the same are in one. A row of each class, with those that
    hold the same, is in none, so that every network learns of every class. The folds depend on the seed and on what the
    rows hold.

    Args:
        plan: names the seed and the number of networks.
        train: the training part, at least one row.
    """
    count = plan.hyperparameters.ensemble
    if not plan.hyperparameters.cross_fitted:
        return Folds(np.full(len(train), NO_FOLD))
    share = (1 - len(np.unique(train.labels)) / len(train)) / count
    return Folds(allot(train.labels, keys_of(train.inputs, plan.seed), [share] * count))
