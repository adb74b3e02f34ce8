"""The keys and values of all layers in memory that Kelvin's kernels know by its address."""

import math
import mmap
from contextlib import suppress

import numpy as np
import tensorflow as tf

from server.backends.shared_prefixes import SharedPrefixes
from server.backends.tiles import room_for


class SharedCaches:
    """What `Caches` is, for the kernels.

    XLA's programs and single calls write to it where it lies; a variable of TensorFlow's would be copied where anybody
    still reads it. What no sequence has reached takes no memory yet.

    Attributes:
        keys: one cache a layer.
        values: likewise.
    """

    def __init__(self, num_layers: int, num_slots: int, num_kv_heads: int, max_length: int, head_dim: int) -> None:
        """Make room, all zeros.

        Args:
            num_layers: of the model.
            num_slots: sequences.
            num_kv_heads: of a position.
            max_length: positions of a slot, for which `room_for` makes room.
            head_dim: width of a head.
        """
        shape = 2 * num_layers, num_slots, num_kv_heads, room_for(max_length), head_dim
        self._memory = _zeros(shape)
        self._prefixes = SharedPrefixes(num_slots, self._copy)
        arrays = self._memory, self._prefixes.sources, self._prefixes.lengths
        self._addresses = tf.Variable([array.ctypes.data for array in arrays], dtype=tf.int64, trainable=False)
        caches = [SharedCache(self._memory, number, self._addresses) for number in range(len(self._memory))]
        self.keys, self.values = caches[:num_layers], caches[num_layers:]

    def write_from(self, slot: int, position: int) -> None:
        """Hear that a slot is going to be written to from a position on."""
        self._prefixes.write_from(slot, position)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a slot begin with the first `length` positions of another one."""
        self._prefixes.share(source, target, length)

    def wipe(self, slot: int) -> None:
        """Fill a slot with zeros: finite leftovers are never read, but NaN would survive a weight of zero."""
        self.write_from(slot, 0)
        self._memory[:, slot] = 0

    def close(self) -> None:
        """Free the memory; a program that runs all the same fails, and does no harm."""
        self._addresses.assign([0, 0, 0])
        self.keys.clear()
        self.values.clear()
        self._memory = np.zeros([0], np.float32)

    def _copy(self, source: int, target: int, begin: int, end: int) -> None:
        for layer in self._memory:  # each for itself: what numpy copies in between is as large as what it is asked for
            layer[target, :, begin:end] = layer[source, :, begin:end]


class SharedCache:
    """The keys or the values of one layer, [slots, kv_heads, positions, head_dim], in the order of `attention.cpp`.

    Attributes:
        addresses: of all layers, and of each slot's source and length; a variable, so that no program has them for
            constants.
        offset: of this one from the first address, in bytes.
        slots: sequences.
        positions: of a slot, a multiple of 16.
    """

    def __init__(self, memory: np.ndarray, number: int, addresses: tf.Variable) -> None:
        self.addresses, self.offset = addresses, number * memory[number].nbytes
        self.slots, self.positions = memory.shape[1], memory.shape[3]


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Return zeros, float32, that begin with a page; the system gives a page when it is first written to.

    Small pages: a slot's first positions lie in as many places as there are layers, heads and kinds, and to clear a
    large page for each takes a sequence 0.1 s and its slot all of its memory.
    """
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # a system without large pages
        room.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(room, np.float32).reshape(shape)
