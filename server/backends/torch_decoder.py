"""The decoder in torch: one block, driven by a DecoderSpec, over tokens that each know their slot and position."""

from typing import Any

import numpy as np
import torch
from torch import nn

from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights, LayerWeights

Tensor = torch.Tensor


class Decoder(nn.Module):
    """A causal decoder's weights and its forward pass over a flat list of tokens.

    A token is an id, a slot and a position; prompts in pieces and sequences that decode may share one pass, since no
    token's numbers depend on which others are in it.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: DecoderWeights,
        *,
        operators: Any,
        dtype: torch.dtype,
        device: torch.device,
        max_length: int,
    ) -> None:
        """Move weights to a device, in the layout that the operators want.

        Args:
            spec: the decoder's shape.
            weights: its arrays, in any floating type.
            operators: `torch.ops.kelvin`, or the module `torch_plain` with the same names.
            dtype: of weights and residual stream.
            device: where they live.
            max_length: positions for which rotary angles are made.
        """
        super().__init__()
        self.spec = spec
        self.operators = operators

        def vector(array: np.ndarray) -> nn.Parameter:
            return _parameter(_tensor(array).to(device, dtype))

        def optional(array: np.ndarray | None) -> nn.Parameter | None:
            return None if array is None else vector(array)

        def matrix(array: np.ndarray) -> nn.Parameter:
            return _parameter(operators.pack(_tensor(array).to(device, dtype)))

        self.embedding = vector(weights.embedding)
        self.positions = optional(weights.positions)
        self.layers = nn.ModuleList(_Layer(layer, vector, optional, matrix) for layer in weights.layers)
        self.final_norm, self.final_norm_bias = vector(weights.final_norm), optional(weights.final_norm_bias)
        self.head = matrix(weights.head)
        cos, sin = rotary_angles(spec, max_length)
        self.register_buffer("cos", None if cos is None else cos.to(device))
        self.register_buffer("sin", None if sin is None else sin.to(device))

    def forward(
        self, token_ids: Tensor, slots: Tensor, positions: Tensor, keys: list[Tensor], values: list[Tensor]
    ) -> Tensor:
        """Run tokens through all blocks, writing their keys and values.

        Args:
            token_ids: int64 [tokens].
            slots: int64 [tokens].
            positions: int64 [tokens].
            keys: one cache a layer, [slots, kv_heads, max_length, head_dim].
            values: likewise.

        Returns:
            The residual stream, [tokens, hidden_size].
        """
        x = self.embedding[token_ids]
        if self.positions is not None:
            x = x + self.positions[positions]
        for layer, layer_keys, layer_values in zip(self.layers, keys, values, strict=True):
            x = self._block(layer, x, slots, positions, layer_keys, layer_values)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Turn the residual stream [tokens, hidden_size] into logits, float32 [tokens, vocab_size]."""
        ops, spec = self.operators, self.spec
        x = self._normalize(x, self.final_norm, self.final_norm_bias)
        logits: Tensor = ops.linear(x, self.head, spec.vocab_size, None, None, True)
        return logits

    def _block(self, layer: Any, x: Tensor, slots: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        ops, spec = self.operators, self.spec
        heads, kv_heads, head_dim = spec.num_heads, spec.num_kv_heads, spec.head_dim
        h = self._normalize(x, layer.attention_norm, layer.attention_norm_bias)
        qkv = ops.linear(h, layer.qkv, (heads + 2 * kv_heads) * head_dim, layer.qkv_bias, None, False)
        q, k, v = qkv.view(-1, heads + 2 * kv_heads, head_dim).split([heads, kv_heads, kv_heads], 1)
        a = ops.attend(q, k, v, self.cos, self.sin, keys, values, slots, positions, head_dim**-0.5, 0, 0.0)
        x = ops.linear(a.view(-1, heads * head_dim), layer.out, spec.hidden_size, layer.out_bias, x, False)
        h = self._normalize(x, layer.mlp_norm, layer.mlp_norm_bias)
        u = ops.linear(h, layer.up, spec.intermediate_size * (1 + spec.gated), layer.up_bias, None, False)
        u = ops.activate(u, spec.activation, spec.gated)
        y: Tensor = ops.linear(u, layer.down, spec.hidden_size, layer.down_bias, x, False)
        return y

    def _normalize(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor = self.operators.normalize(x, weight, bias, self.spec.norm_eps, self.spec.norm == "layer")
        return y


class _Layer(nn.Module):
    """One block's weights."""

    def __init__(self, layer: LayerWeights, vector: Any, optional: Any, matrix: Any) -> None:
        super().__init__()
        self.attention_norm = vector(layer.attention_norm)
        self.attention_norm_bias = optional(layer.attention_norm_bias)
        self.qkv, self.qkv_bias = matrix(layer.qkv), optional(layer.qkv_bias)
        self.out, self.out_bias = matrix(layer.out), optional(layer.out_bias)
        self.mlp_norm, self.mlp_norm_bias = vector(layer.mlp_norm), optional(layer.mlp_norm_bias)
        self.up, self.up_bias = matrix(layer.up), optional(layer.up_bias)
        self.down, self.down_bias = matrix(layer.down), optional(layer.down_bias)


def rotary_angles(spec: DecoderSpec, max_length: int) -> tuple[Tensor | None, Tensor | None]:
    """Tabulate the rotary embedding's cosines and sines (Su et al. 2021, arXiv:2104.09864).

    Args:
        spec: gives `rope_theta` and `head_dim`.
        max_length: number of positions.

    Returns:
        Two float32 tensors [max_length, head_dim / 2], or None twice where positions are learned.
    """
    if spec.rope_theta is None:
        return None, None
    frequency = 1.0 / spec.rope_theta ** (torch.arange(0, spec.head_dim, 2, dtype=torch.float32) / spec.head_dim)
    angle = torch.arange(max_length, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def _tensor(array: np.ndarray) -> Tensor:
    """View a NumPy array as a tensor; NumPy's own bfloat16 comes from ml_dtypes, which torch does not know."""
    array = np.require(array, requirements=["C", "W"])
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
