"""TensorFlowEmbedder: texts as vectors, pooled from the hidden states of a served model, in TensorFlow."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from server.backends import tensorflow_rows
from server.backends.pooling import NORM_EPS, RowBatch, chosen_layers, pool_rows
from server.backends.tensorflow_decoder import Decoder
from server.backends.tensorflow_process import pick_dtype, settle_process
from server.models.progress import Progress
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights

Tensor = Any


class TensorFlowEmbedder:
    """Reads rows of tokens with a decoder's lower blocks, and returns a vector for each.

    What else is read with a row may change the last bits of its vector.

    Attributes:
        width: of a vector.
        max_length: tokens of a row that are read.
    """

    framework = "tensorflow"

    def __init__(
        self,
        spec: DecoderSpec,
        weights: DecoderWeights,
        *,
        layers: Sequence[int] | None = None,
        dtype: Literal["auto", "bfloat16", "float32"] = "auto",
        device: str = "auto",
        max_length: int = 512,
        threads: int = 0,
        cache_dir: Path,
    ) -> None:
        """Load the blocks that are needed onto a device.

        Args:
            spec: the decoder's shape.
            weights: its arrays.
            layers: after which blocks hidden states are taken, from 0 to `num_layers`; None: see `chosen_layers`.
            dtype: of weights and residual stream; auto is as for `TensorFlowBackend`.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            max_length: tokens of a row that are read, ≥ 1; no more than the model was made for.
            threads: CPU threads; 0 leaves TensorFlow's own choice.
            cache_dir: keeps compiled programs from one start to the next.

        Raises:
            ModelError: the device or a layer is not there.
        """
        self.device = settle_process(device, threads, cache_dir)
        self._dtype = pick_dtype(dtype, self.device)
        self.dtype = self._dtype.name
        self.layers = chosen_layers(spec, layers)
        self.width, self.max_length = spec.hidden_size * len(self.layers), min(max_length, spec.context_length)
        self._decoder = Decoder(
            spec,
            replace(weights, layers=weights.layers[: max(self.layers)]),
            operators=tensorflow_rows,
            dtype=self._dtype,
            max_length=self.max_length,
        )
        signature = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
        self._program = tf.function(self._forward, input_signature=signature, autograph=False)

    def pool(self, token_ids: Sequence[Sequence[int]], progress: Progress | None = None) -> np.ndarray:
        """Return a vector for each row of tokens.

        Args:
            token_ids: of each row, from 0 to `vocab_size` - 1; what is beyond `max_length` is not read.
            progress: called after each pass; None: nobody is told. What it raises ends the work.

        Returns:
            float32 [rows, width]: for each layer the mean over tokens of the hidden state, each divided by its root
            mean square; zeros for a row without tokens.
        """
        return pool_rows(self._pool, token_ids, self.max_length, self.width, progress)

    def _pool(self, batch: RowBatch) -> np.ndarray:
        padded = np.zeros((len(batch.rows), int(batch.lengths.max())), np.int32)
        padded[batch.slots, batch.positions] = batch.token_ids
        pooled: np.ndarray = self._program(padded, batch.lengths.astype(np.int32)).numpy()
        return pooled

    def _forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Pool rows, int32 [rows, longest], filled up at their end."""
        rows, longest = tf.unstack(tf.shape(token_ids))
        positions = tf.broadcast_to(tf.range(longest), [rows, longest])
        mine = tf.sequence_mask(lengths, longest, tf.float32)[:, :, None]
        pooled = []
        x = self._decoder.embed(token_ids, positions)
        for layer in range(max(self.layers) + 1):
            if layer:
                x = self._decoder.block(layer - 1, x, positions, positions, None, None)
            if layer in self.layers:
                y = tf.cast(x, tf.float32)
                y = y * tf.math.rsqrt(tf.reduce_mean(y * y, -1, keepdims=True) + NORM_EPS)
                y = tf.reshape(y, [rows, longest, x.shape[-1]]) * mine
                pooled.append(tf.reduce_sum(y, 1) / tf.cast(lengths, tf.float32)[:, None])
        return tf.concat(pooled, -1)
