"""Reading: the parts of a data set as each network of an ensemble takes them."""

from collections.abc import Sequence

from server.finetuning.data.division import PartName
from server.finetuning.examples import Examples, Splits
from server.finetuning.training.inputs import Encoder
from server.finetuning.training.preparation import encoded
from server.finetuning.training.trainer import Rows


class Reading:
    """Parts through encoders; what all networks share is encoded once."""

    def __init__(self, encoders: Sequence[Encoder], splits: Splits) -> None:
        """Prepare.

        Args:
            encoders: one for all networks, or one each.
            splits: the rows.
        """
        self._encoders, self._splits = encoders, splits
        self._shared: dict[PartName, Rows] = {}

    def rows(self, part: PartName, network: int) -> Rows:
        """Return a part.

        Args:
            part: its name.
            network: number of the one that takes it, from 0.
        """
        examples: Examples = getattr(self._splits, part)
        if len(self._encoders) > 1:
            return encoded(self._encoders[network], examples)
        if part not in self._shared:
            self._shared[part] = encoded(self._encoders[0], examples)
        return self._shared[part]
