"""What a call of the backend computes, as functions: run at once, as graphs, or as XLA's programs."""

from dataclasses import fields
from typing import Any

import tensorflow as tf

from samplers.kept import Kept
from server.backends.tensorflow_decoder import Decoder
from server.backends.tensorflow_sampler import Sampler
from server.backends.tensorflow_steps import Sequences, run_steps

Tensor = Any


class Decoding:
    """A decoder over its caches, the sampler behind it, and where every slot stands.

    Attributes:
        scratch: the slot of nobody, whose rows fill programs up.
        max_steps: of one call.
    """

    def __init__(
        self, decoder: Decoder, caches: Any, sampler: Sampler, sequences: Sequences, *, scratch: int, max_steps: int
    ) -> None:
        self._decoder, self._caches, self._sampler, self._sequences = decoder, caches, sampler, sequences
        self.scratch, self.max_steps = scratch, max_steps

    def write(self, token_ids: Tensor, slots: Tensor, positions: Tensor) -> None:
        """Write the keys and values of pieces of prompts, all int32 [rows, tokens]; see `Decoder.forward`."""
        self._decoder.forward(token_ids, slots, positions, self._caches.keys, self._caches.values)

    def steps(self, slots: Tensor, variant: Tensor, num_steps: Tensor) -> tuple[Tensor, ...]:
        """Feed each row's last token, draw its next one and move on, up to `num_steps` times.

        Args:
            slots: int32 [rows].
            variant: of the sampler, int32 [].
            num_steps: int32 [].

        Returns:
            How many steps were drawn, int32 []; then, each [max_steps, rows, …], token ids int32, finite bool, raw
            logits float32, and the fields of `Kept`.
        """
        logits = tf.TensorSpec([self._decoder.spec.vocab_size], tf.float32)
        leaves = [tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool), logits]
        leaves += [tf.TensorSpec([1], tf.float32)] * len(fields(Kept))
        return run_steps(lambda rows: self._step(rows, variant), slots, self.scratch, num_steps, self.max_steps, leaves)

    def logits(self, slots: Tensor) -> Tensor:
        """Feed the last token of slots, int32 [rows], and return what comes next, float32 [rows, vocab]."""
        last_token, position = self._sequences.stand(slots)
        inputs = last_token[:, None], slots[:, None], position[:, None]
        return self._decoder.logits(self._decoder.forward(*inputs, self._caches.keys, self._caches.values))

    def _step(self, slots: Tensor, variant: Tensor) -> tuple[Tensor, ...]:
        logits = self.logits(slots)
        token_ids, finite, *kept = self._sampler.draw(logits, slots, variant)
        moves = tf.cast(slots < self.scratch, tf.int32)
        self._sampler.move_on(slots, moves)
        goes_on = self._sequences.move_on(slots, token_ids, moves)
        return goes_on & finite, token_ids, finite, logits, *kept
