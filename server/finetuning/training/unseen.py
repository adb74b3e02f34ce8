"""Unseen: rows that say which temperature suits networks, since none of them has learned from them.

They are rows of their own, or, where networks are cross-fitted, each network's fold of the training part: no row is
then kept from all networks, as in the stacking of Wolpert (1992).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from server.finetuning.examples import Examples
from server.finetuning.training.ensemble import Answering, mean_logits
from server.finetuning.training.trainer import Rows


@dataclass(frozen=True, slots=True)
class Unseen:
    """Labelled rows, and who is asked for which.

    Attributes:
        parts: for each network the rows that it is asked for, as it takes them.
        folded: whether these are its fold, which it alone has not seen; else they are the same for all.
    """

    parts: Sequence[Rows | Examples]
    folded: bool

    @property
    def num_rows(self) -> int:
        """Different rows that somebody is asked for."""
        return sum(map(len, self.parts)) if self.folded else len(self.parts[0])

    def answered(self, networks: Sequence[Answering]) -> tuple[np.ndarray, np.ndarray]:
        """Ask networks for the rows that they have not seen.

        Args:
            networks: the first ones of all, at least one.

        Returns:
            Logits, float [rows, classes], those of a fold's rows by its network, of others the mean; and labels, int64
            [rows].
        """
        parts = self.parts[: len(networks)]
        if not self.folded:
            return mean_logits(networks, [part.inputs for part in parts]), parts[0].labels
        logits = [network.logits(part.inputs) for network, part in zip(networks, parts, strict=True) if len(part)]
        labels = np.concatenate([part.labels for part in parts])
        return np.concatenate(logits) if logits else np.zeros((0, 1), np.float32), labels
