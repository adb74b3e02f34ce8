"""The decoder in TensorFlow: one block, driven by a DecoderSpec, over tokens that each know their slot and position."""

from typing import Any

import numpy as np
import tensorflow as tf

from server.backends import tensorflow_plain
from server.models.rope import inverse_frequencies
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights, LayerWeights

Tensor = Any


class Decoder:
    """A causal decoder's weights and its forward pass over rows of tokens.

    A token is an id, a slot and a position. A row holds tokens of one sequence: one when it decodes, a piece when its
    prompt is read. XLA compiles a program for each shape, so that a piece is padded to a fixed number of tokens, and
    those at its end are stored in a slot that nobody reads.

    Attributes:
        num_bytes: of all matrices, which every step reads.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: DecoderWeights,
        *,
        operators: Any = tensorflow_plain,
        dtype: tf.DType,
        max_length: int,
    ) -> None:
        """Make variables of the weights, on the current device, in the layout that the operators want.

        A constant would become a part of every program.

        Args:
            spec: the decoder's shape.
            weights: its arrays, in any floating type.
            operators: the module `tensorflow_plain`, or another with the same names.
            dtype: of weights and residual stream; norms stay in float32.
            max_length: positions for which rotary angles are made.
        """
        self.spec = spec
        self.operators = operators
        self.num_bytes = 0

        def vector(array: np.ndarray | None) -> tf.Variable | None:
            return None if array is None else _variable(tf.cast(_tensor(array), dtype))

        def norm(array: np.ndarray | None) -> tf.Variable | None:
            return None if array is None else _variable(tf.cast(_tensor(array), tf.float32))

        def matrix(array: np.ndarray) -> tf.Variable:
            self.num_bytes += array.size * dtype.size
            return _variable(operators.pack(tf.cast(_tensor(array), dtype)))

        self.embedding = vector(weights.embedding)
        self.embedding_scale = float(dtype.as_numpy_dtype(spec.embedding_scale))  # rounded like the embedding
        self.positions = vector(weights.positions)
        self.layers = [_Layer(layer, vector, norm, matrix) for layer in weights.layers]
        self.final_norm, self.final_norm_bias = norm(weights.final_norm), norm(weights.final_norm_bias)
        self.head = matrix(weights.head)
        self.cos, self.sin = rotary_angles(spec, max_length)

    def forward(
        self, token_ids: Tensor, slots: Tensor, positions: Tensor, keys: list[Any], values: list[Any]
    ) -> Tensor:
        """Run tokens through all blocks, writing their keys and values.

        Args:
            token_ids: int32 [rows, tokens].
            slots: where their keys and values are stored, int32 [rows, tokens]; a row reads its first token's slot.
            positions: int32 [rows, tokens].
            keys: one cache a layer, of the kind that the operators write to.
            values: likewise.

        Returns:
            The residual stream, [rows · tokens, hidden_size].
        """
        x = self.embed(token_ids, positions)
        for number in range(len(self.layers)):
            x = self.block(number, x, slots, positions, keys[number], values[number])
        return x

    def embed(self, token_ids: Tensor, positions: Tensor) -> Tensor:
        """Return the residual stream before the first block, [rows · tokens, hidden_size]; see `forward`."""
        x = tf.gather(self.embedding, tf.reshape(token_ids, [-1]))
        if self.embedding_scale != 1.0:
            x = x * self.embedding_scale
        return x if self.positions is None else x + tf.gather(self.positions, tf.reshape(positions, [-1]))

    def block(self, number: int, x: Tensor, slots: Tensor, positions: Tensor, keys: Any, values: Any) -> Tensor:
        """Run the residual stream [rows · tokens, hidden_size] through one block; other arguments as for `forward`."""
        ops, spec, layer = self.operators, self.spec, self.layers[number]
        h = self._normalize(x, layer.attention_norm, layer.attention_norm_bias)
        a = self._attend(number, layer, h, slots, positions, keys, values)
        y = self._add(x, a, layer.out, layer.out_bias, layer.post_attention_norm)
        h = self._normalize(x if spec.parallel_residual else y, layer.mlp_norm, layer.mlp_norm_bias)
        u = ops.linear(h, layer.up, spec.intermediate_size * (1 + spec.gated), layer.up_bias, None, False)
        u = ops.activate(u, spec.activation, spec.gated)
        return self._add(y, u, layer.down, layer.down_bias, layer.post_mlp_norm)

    def logits(self, x: Tensor) -> Tensor:
        """Turn the residual stream [tokens, hidden_size] into logits, float32 [tokens, vocab_size]."""
        ops, spec = self.operators, self.spec
        x = self._normalize(x, self.final_norm, self.final_norm_bias)
        logits = ops.linear(x, self.head, spec.vocab_size, None, None, True)
        if not spec.logit_softcap:
            return logits
        return ops.activate(logits / spec.logit_softcap, "tanh", False) * spec.logit_softcap

    def _attend(
        self,
        number: int,
        layer: "_Layer",
        x: Tensor,
        slots: Tensor,
        positions: Tensor,
        keys: Any,
        values: Any,
    ) -> Tensor:
        ops, spec = self.operators, self.spec
        heads, kv_heads, head_dim = spec.num_heads, spec.num_kv_heads, spec.head_dim
        qkv = ops.linear(x, layer.qkv, (heads + 2 * kv_heads) * head_dim, layer.qkv_bias, None, False)
        qkv = tf.reshape(qkv, [-1, heads + 2 * kv_heads, head_dim])
        q, k, v = tf.split(qkv, [heads, kv_heads, kv_heads], 1)
        if layer.query_norm is not None:
            q = self._normalize(q, layer.query_norm, None)
            k = self._normalize(k, layer.key_norm, None)
        cos, sin = (self.cos, self.sin) if spec.rotates[number] else (None, None)
        scale, window, softcap = spec.attention_scale, spec.windows[number], spec.attention_softcap
        a = ops.attend(q, k, v, cos, sin, keys, values, slots, positions, scale, window, softcap)
        return tf.reshape(a, [-1, heads * head_dim])

    def _add(
        self, x: Tensor, h: Tensor, matrix: tf.Variable, bias: tf.Variable | None, post_norm: tf.Variable | None
    ) -> Tensor:
        """Multiply h by a matrix and add it to the residual stream x, normalised before where the model does that."""
        ops, width = self.operators, self.spec.hidden_size
        if post_norm is not None:
            return x + self._normalize(ops.linear(h, matrix, width, bias, None, False), post_norm, None)
        return ops.linear(h, matrix, width, bias, x, False)

    def _normalize(self, x: Tensor, weight: tf.Variable, bias: tf.Variable | None) -> Tensor:
        return self.operators.normalize(x, weight, bias, self.spec.norm_eps, self.spec.norm == "layer")


class _Layer:
    """One block's weights."""

    def __init__(self, layer: LayerWeights, vector: Any, norm: Any, matrix: Any) -> None:
        self.attention_norm, self.attention_norm_bias = norm(layer.attention_norm), norm(layer.attention_norm_bias)
        self.qkv, self.qkv_bias = matrix(layer.qkv), vector(layer.qkv_bias)
        self.query_norm, self.key_norm = norm(layer.query_norm), norm(layer.key_norm)
        self.out, self.out_bias = matrix(layer.out), vector(layer.out_bias)
        self.post_attention_norm = norm(layer.post_attention_norm)
        self.mlp_norm, self.mlp_norm_bias = norm(layer.mlp_norm), norm(layer.mlp_norm_bias)
        self.up, self.up_bias = matrix(layer.up), vector(layer.up_bias)
        self.down, self.down_bias = matrix(layer.down), vector(layer.down_bias)
        self.post_mlp_norm = norm(layer.post_mlp_norm)


def rotary_angles(spec: DecoderSpec, max_length: int) -> tuple[tf.Variable | None, tf.Variable | None]:
    """Tabulate the rotary embedding's cosines and sines.

    Args:
        spec: the decoder's shape.
        max_length: number of positions.

    Returns:
        Two float32 variables [max_length, pairs that turn], or None twice where positions are learned.
    """
    if spec.rope is None:
        return None, None
    angle = tf.range(max_length, dtype=tf.float32)[:, None] * inverse_frequencies(spec.rope)
    return _variable(tf.cos(angle)), _variable(tf.sin(angle))


def _tensor(array: np.ndarray) -> Tensor:
    """Hand a NumPy array to TensorFlow, which knows the bfloat16 of ml_dtypes."""
    return tf.convert_to_tensor(array)


def _variable(tensor: Tensor) -> tf.Variable:
    return tf.Variable(tensor, trainable=False)
