"""TensorFlowDecoderTrainer: a served model's lower blocks, trained by adapters or as a whole, in TensorFlow."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from server.backends import tensorflow_rows
from server.backends.pooling import NORM_EPS
from server.backends.tensorflow import pick_dtype
from server.backends.tensorflow_decoder import Decoder
from server.finetuning.training.decoder import ADAPTER_SCALE, Body, attach
from server.finetuning.training.network import HEAD, Network
from server.finetuning.training.tensorflow import TensorFlowTrainer, linear

Tensor = Any


class TensorFlowDecoderTrainer(TensorFlowTrainer):
    """Trains a decoder; see `Trainer` for what each method promises.

    What is trained is kept in float32. Matrix products are in the type that the model is served in: bfloat16 on a GPU,
    unless float32 is asked for. XLA compiles the programs on a GPU alone: on a CPU it takes longer than it saves.
    """

    def __init__(
        self,
        network: Network,
        weights: Mapping[str, np.ndarray],
        *arguments: Any,
        body: Body,
        dtype: str,
        **options: Any,
    ) -> None:
        """Put a model and the weights that move onto a device.

        Args:
            network: its shape; a `decoder`.
            weights: float32 by name, as `initial_decoder_weights` returns them.
            arguments: as for `TensorFlowTrainer`.
            body: the model.
            dtype: of matrix products: `auto`, `bfloat16` or `float32`.
            options: as for `TensorFlowTrainer`.
        """
        self._body, self._asked_dtype = body, dtype
        network = network.model_copy(update={"hidden": (body.spec.hidden_size,)})
        super().__init__(network, weights, *arguments, **options)

    def _compile(self) -> None:
        on_gpu = self._device.startswith("/GPU")
        compute, body = pick_dtype(self._asked_dtype, "cuda" if on_gpu else "cpu"), self._body
        with tf.device(self._device):
            self._decoder = Decoder(
                body.spec,
                body.weights,
                operators=_Operators(compute),
                dtype=compute if self._network.rank else tf.float32,
                max_length=body.spec.context_length,
            )
        attach(self._decoder, self._weights, _Adapted)
        del self._body
        self._jit = on_gpu
        if not self._jit:  # Grappler would put sums of two together again, to AddN of many
            tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
        super()._compile()

    def _forward(self, inputs: Tensor, bag: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
        """Return the logits, [rows, classes]; rows are filled up at their end."""
        if not self._jit:  # a compiled program has a fixed shape
            longest = tf.maximum(1, tf.reduce_max(tf.math.count_nonzero(bag, 1, dtype=tf.int32)))
            inputs, bag = inputs[:, :longest], bag[:, :longest]
        rows, tokens = tf.unstack(tf.shape(inputs))
        positions = tf.broadcast_to(tf.range(tokens), [rows, tokens])
        x = self._decoder.embed(inputs, positions)
        for number in range(len(self._decoder.layers)):
            x = self._decoder.block(number, x, positions, positions, None, None)
        y = tf.cast(x, tf.float32)
        y = y * tf.math.rsqrt(tf.reduce_mean(y * y, -1, keepdims=True) + NORM_EPS)
        pooled = tf.einsum("rt,rtw->rw", bag, tf.reshape(y, [rows, tokens, self._decoder.spec.hidden_size]))
        if masks:
            pooled = pooled * masks[0]
        return linear(self._weights, HEAD, pooled)


class _Adapted(NamedTuple):
    """A matrix [out, in] that stays, and the adapters A [rank, in] and B [out, rank] that move."""

    matrix: Tensor
    a: Tensor
    b: Tensor


class _Operators:
    """The operators of a decoder that is trained: those for whole rows, products of one type, and adapters."""

    def __init__(self, dtype: tf.DType) -> None:
        self._dtype = dtype
        self.normalize, self.activate = tensorflow_rows.normalize, tensorflow_rows.activate
        self.attend = tensorflow_rows.attend

    def pack(self, weight: Tensor) -> Tensor:
        """Return a weight [out, in] in the layout that `linear` reads: as it is, like the arrays that are kept."""
        return weight

    def linear(
        self, x: Tensor, packed: Any, out_features: int, bias: Tensor | None, residual: Tensor | None, as_float: bool
    ) -> Tensor:
        """Multiply as `tensorflow_rows.linear` does, and add what adapters add."""
        x = tf.cast(x, self._dtype)
        if not isinstance(packed, _Adapted):
            return self._product(x, packed, bias, residual)
        added = self._matmul(self._matmul(x, packed.a), packed.b)
        y = self._product(x, packed.matrix, bias, residual)
        return y + tf.cast(added, y.dtype) * ADAPTER_SCALE

    def _product(self, x: Tensor, matrix: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        y = self._matmul(x, matrix)
        if bias is not None:
            y = y + tf.cast(bias, self._dtype)
        return y if residual is None else tf.cast(y, residual.dtype) + residual

    def _matmul(self, x: Tensor, matrix: Tensor) -> Tensor:
        return tf.matmul(x, tf.cast(matrix, self._dtype), transpose_b=True)
