"""Unseen: rows that say which temperature suits networks, since none of them has learned from them.

They are rows of their own, or, where networks are cross-fitted, each network's fold of the training part: no row is
then kept from all networks, as in the stacking of Wolpert (1992).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from server.finetuning.data.folds import Folds
from server.finetuning.examples import Examples
from server.finetuning.training.ensemble import Answering, mean_logits
from server.finetuning.training.trainer import Rows


@dataclass(frozen=True, slots=True)
class Unseen:
    """Labelled rows, and who has not seen them.

    Attributes:
        rows: as those who are asked take them.
        folds: whose rows are unseen by one network each; None: all networks have seen none of the rows.
    """

    rows: Rows | Examples
    folds: Folds | None = None

    @property
    def num_rows(self) -> int:
        """Rows that somebody can be asked for."""
        return len(self.rows) if self.folds is None else self.folds.num_rows

    def answered(self, networks: Sequence[Answering]) -> tuple[np.ndarray, np.ndarray]:
        """Ask networks for the rows that they have not seen.

        Args:
            networks: at least one; with folds the first ones of those that the folds are of, for whose rows alone they
                are asked.

        Returns:
            Logits, float [rows, classes], the mean of all networks or with folds of one each, fold by fold; and labels,
            int64 [rows].
        """
        if self.folds is None:
            return mean_logits(networks, self.rows.inputs), self.rows.labels
        parts = [self.rows.take(self.folds.of(number)) for number in range(len(networks))]
        logits = [network.logits(part.inputs) for network, part in zip(networks, parts, strict=True) if len(part)]
        labels = np.concatenate([part.labels for part in parts])
        return np.concatenate(logits) if logits else np.zeros((0, 1), np.float32), labels
