"""The keys and values of all layers in memory that Kelvin's kernels know by its address."""

import math

import numpy as np
import tensorflow as tf

_TILE = 16  # positions that the kernels keep together
_VECTOR = 16  # floats of a vector


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
            max_length: positions of a slot, rounded up to whole tiles.
            head_dim: width of a head.
        """
        shape = 2 * num_layers, num_slots, num_kv_heads, -(-max_length // _TILE) * _TILE, head_dim
        self._memory = _aligned_zeros(shape)
        self._address = tf.Variable(self._memory.ctypes.data, dtype=tf.int64, trainable=False)
        caches = [SharedCache(self._memory, number, self._address) for number in range(len(self._memory))]
        self.keys, self.values = caches[:num_layers], caches[num_layers:]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the tiles that hold the first `length` positions of a slot to another slot."""
        end = -(-length // _TILE) * _TILE
        for layer in self._memory:  # each for itself: what numpy copies in between is as large as what it is asked for
            layer[target, :, :end] = layer[source, :, :end]

    def clear(self, slot: int) -> None:
        """Fill a slot with zeros: finite leftovers are never read, but NaN would survive a weight of zero."""
        self._memory[:, slot] = 0

    def close(self) -> None:
        """Free the memory; a program that runs all the same fails, and does no harm."""
        self._address.assign(0)
        self.keys.clear()
        self.values.clear()
        self._memory = np.zeros([0], np.float32)


class SharedCache:
    """The keys or the values of one layer, [slots, kv_heads, positions, head_dim], in the order of `attention.cpp`.

    Attributes:
        address: of all layers, a variable, so that no program has it for a constant.
        offset: of this one from there, in bytes.
        slots: sequences.
        positions: of a slot, a multiple of 16.
    """

    def __init__(self, memory: np.ndarray, number: int, address: tf.Variable) -> None:
        self.address, self.offset = address, number * memory[number].nbytes
        self.slots, self.positions = memory.shape[1], memory.shape[3]


def _aligned_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Return zeros, float32, that start where a vector may."""
    room = np.zeros(math.prod(shape) + _VECTOR, np.float32)
    start = -room.ctypes.data // room.itemsize % _VECTOR
    return room[start : start + math.prod(shape)].reshape(shape)
