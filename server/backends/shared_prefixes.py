"""SharedPrefixes: which slots begin with the same keys and values, so that a step may read them from memory once."""

import numpy as np
import numpy.typing as npt


class SharedPrefixes:
    """For every slot another one, its source, that begins with the same keys and values, and for how many positions.

    Each slot has keys and values of its own, all of them: where the same are read is of no matter to any bit, and no
    slot need stay for the sake of another.

    Attributes:
        sources: a slot for each slot, int64 [slots]; itself, where it is like no other.
        lengths: positions in which the two are the same, int64 [slots].
    """

    def __init__(self, num_slots: int) -> None:
        """Begin with slots that are like no other."""
        self.sources: npt.NDArray[np.int64] = np.arange(num_slots, dtype=np.int64)
        self.lengths: npt.NDArray[np.int64] = np.zeros(num_slots, np.int64)

    def copied(self, source: int, target: int, length: int) -> None:
        """Note that the first positions of a slot, so many of them, have been copied to another slot."""
        self.written(target, 0)
        alike = int(self.sources[source]) if self.lengths[source] >= length else source
        self.sources[target], self.lengths[target] = alike, length

    def written(self, slot: int, position: int) -> None:
        """Note that a slot holds something else from a position on; slots that read it there share among themselves."""
        self.lengths[slot] = min(self.lengths[slot], position)
        lost = np.flatnonzero((self.sources == slot) & (self.lengths > position))
        if not len(lost):
            return
        longest = lost[np.argmax(self.lengths[lost])]
        self.sources[lost] = longest
        self.lengths[longest] = 0
