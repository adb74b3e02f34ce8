"""The keys and the values of a layer as a variable, kept in blocks so that attention reads no more than it needs."""

from typing import Any

import tensorflow as tf

Tensor = Any

BLOCK = 128  # positions that attention reads at once; what it computes grows with a sequence, its program does not


class Caches:
    """The keys and values of all layers.

    Attributes:
        keys: one cache a layer.
        values: likewise.
    """

    def __init__(
        self, num_layers: int, num_slots: int, num_kv_heads: int, max_length: int, head_dim: int, dtype: tf.DType
    ) -> None:
        """Make room; arguments as for `Cache`."""
        shape = num_slots, num_kv_heads, max_length, head_dim
        self.keys, self.values = ([Cache(*shape, dtype) for _ in range(num_layers)] for _ in range(2))

    def write_from(self, slot: int, position: int) -> None:
        """Hear that a slot is going to be written to from a position on: of no matter, no slot reads another's."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of a slot to another slot."""
        for cache in (*self.keys, *self.values):
            cache.copy(source, target, length)

    def wipe(self, slot: int) -> None:
        """Leave nothing in a slot that could harm its next sequence: attention passes over what it may not see."""

    def close(self) -> None:
        """Free the memory."""
        self.keys.clear()
        self.values.clear()


class Cache:
    """A variable [slots · kv_heads · blocks, BLOCK, head_dim], written to in place.

    TensorFlow copies a variable that was written to in part whenever it is read as a whole, and XLA has only `gather`
    to read a part of it: hence one leading axis, and no method that reads everything.
    """

    def __init__(self, num_slots: int, num_kv_heads: int, max_length: int, head_dim: int, dtype: tf.DType) -> None:
        """Make room, all zeros.

        Args:
            num_slots: sequences.
            num_kv_heads: of a position.
            max_length: positions of a slot, rounded up to whole blocks.
            head_dim: width of a head.
            dtype: of the elements.
        """
        self.num_blocks = -(-max_length // BLOCK)
        self._heads = tf.range(num_kv_heads)
        shape = num_slots * num_kv_heads * self.num_blocks, BLOCK, head_dim
        self._blocks = tf.Variable(tf.zeros(shape, dtype), trainable=False)

    def store(self, new: Tensor, slots: Tensor, positions: Tensor) -> None:
        """Write one position of each token.

        Args:
            new: [tokens, kv_heads, head_dim].
            slots: int32 [tokens].
            positions: int32 [tokens]; where a slot and a position come twice, either may stay.
        """
        place = self._numbers(slots, positions // BLOCK)
        within = tf.broadcast_to((positions % BLOCK)[:, None], tf.shape(place))
        self._blocks.scatter_nd_update(tf.stack([place, within], -1), new)

    def block(self, slots: Tensor, number: Tensor) -> Tensor:
        """Read one block of each slot.

        Args:
            slots: int32 [rows].
            number: of the block, int32 [], from 0 to `num_blocks` - 1.

        Returns:
            float32 [rows, kv_heads, BLOCK, head_dim].
        """
        return tf.cast(tf.gather(self._blocks, self._numbers(slots, number)), tf.float32)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the blocks that hold the first `length` positions of a slot to another slot."""
        numbers = tf.range(-(-length // BLOCK))
        copied = tf.gather(self._blocks, self._numbers(tf.fill(numbers.shape, source), numbers))
        self._blocks.scatter_nd_update(self._numbers(tf.fill(numbers.shape, target), numbers)[:, :, None], copied)

    def _numbers(self, slots: Tensor, numbers: Tensor) -> Tensor:
        """Return where each slot's block of a number lies, for each head, int32 [slots, kv_heads]."""
        head = slots[:, None] * len(self._heads) + self._heads
        return head * self.num_blocks + tf.broadcast_to(numbers, tf.shape(slots))[:, None]
