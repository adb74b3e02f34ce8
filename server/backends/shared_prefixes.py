"""SharedPrefixes: which slots begin with keys and values that lie in another slot, until somebody writes over these."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from server.backends.tiles import TILE, whole_tiles

Copy = Callable[[int, int, int, int], None]


class SharedPrefixes:
    """For every slot another one, its source, in which its first positions lie, and how many do.

    What a slot shares is copied only when its source is written over; most slots have ended by then. Its last tile lies
    in the slot as well, so that two tiles in a row can be read there together. A source shares nothing itself.

    Attributes:
        sources: a slot for each slot, int64 [slots]; itself, where it shares nothing.
        lengths: positions that lie there, whole tiles, int64 [slots].
    """

    def __init__(self, num_slots: int, copy: Copy) -> None:
        """Begin with slots that share nothing.

        Args:
            num_slots: sequences.
            copy: called with a slot, another one, and where the whole tiles that it copies begin and end.
        """
        self.sources: npt.NDArray[np.int64] = np.arange(num_slots, dtype=np.int64)
        self.lengths: npt.NDArray[np.int64] = np.zeros(num_slots, np.int64)
        self._copy = copy

    def share(self, source: int, target: int, length: int) -> None:
        """Let a slot begin with the first positions of another one, so many of them."""
        self.write_from(target, 0)
        root, lent = int(self.sources[source]), int(self.lengths[source])
        whole = length // TILE * TILE
        shared = min(lent, whole) if lent else whole
        if shared:
            self.sources[target], self.lengths[target] = root, shared
        self._copy(root if lent >= length else source, target, max(0, shared - TILE), whole_tiles(length))

    def write_from(self, slot: int, position: int) -> None:
        """Copy what is shared, by a slot or of it, before somebody writes to the slot from a position on."""
        self._hand_over(slot, position)
        source, shared = int(self.sources[slot]), position // TILE * TILE
        if self.lengths[slot] <= shared:
            return
        self.lengths[slot] = shared
        if not shared:
            self.sources[slot] = slot
        if position:
            self._copy(source, slot, max(0, shared - TILE), whole_tiles(position))

    def _hand_over(self, slot: int, position: int) -> None:
        """Let those that share more of a slot than goes before a position share it among themselves."""
        heirs = np.flatnonzero((self.sources == slot) & (self.lengths > position))
        if not len(heirs):
            return
        heir = heirs[np.argmax(self.lengths[heirs])]
        self._copy(slot, int(heir), 0, int(self.lengths[heir]))
        self.sources[heirs] = heir
        self.lengths[heir] = 0
