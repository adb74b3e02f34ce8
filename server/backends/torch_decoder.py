"""The decoder in torch: one block, driven by a DecoderSpec, over tokens that each know their slot and position."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from server.backends.quantization import Quantization
from server.backends.torch_pages import LargePages
from server.models.rope import inverse_frequencies
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights, LayerWeights

Tensor = torch.Tensor


class Decoder(nn.Module):
    """A causal decoder's weights and its forward pass over a flat list of tokens.

    A token is an id, a slot and a position; prompts in pieces and sequences that decode may share one pass, since no
    token's numbers depend on which others are in it.

    Attributes:
        prefixes: which slots begin alike, for operators of whole blocks; see `Caches`.
        reads_prompts: whether tokens are of prompts, for them too.
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
        quantization: Quantization = "none",
    ) -> None:
        """Move weights to a device, in the layout that the operators want.

        Args:
            spec: the decoder's shape.
            weights: its arrays, in any floating type.
            operators: `torch.ops.kelvin`, or the module `torch_plain` with the same names.
            dtype: of weights and residual stream; norms stay in float32.
            device: where they live.
            max_length: positions for which rotary angles are made.
            quantization: of the matrices, the head's too; the embedding that is looked up keeps its type.
        """
        super().__init__()
        self.spec = spec
        self.operators = operators
        self.quantization = quantization
        pack = operators.pack if quantization == "none" else operators.pack_int8
        pages = LargePages()

        def vector(array: np.ndarray | None) -> Any:  # a parameter, or None for None
            return None if array is None else _parameter(_tensor(array).to(device, dtype))

        def norm(array: np.ndarray | None) -> Any:
            return None if array is None else _parameter(_tensor(array).to(device, torch.float32))

        def matrix(array: np.ndarray) -> nn.Parameter:
            packed = pack(_tensor(array).to(device, dtype))
            return _parameter(pages.keep(packed) if device.type == "cpu" else packed)

        self.embedding = vector(weights.embedding)
        self.embedding_scale = torch.tensor(spec.embedding_scale, dtype=dtype).item()  # rounded like the embedding
        self.positions = vector(weights.positions)
        whole_blocks = hasattr(operators, "run_blocks")
        turns = whole_blocks and spec.gated
        layers = (_by_turns(layer) if turns else layer for layer in weights.layers)
        self.layers = nn.ModuleList(_Layer(layer, vector, norm, matrix) for layer in layers)
        self.final_norm, self.final_norm_bias = norm(weights.final_norm), norm(weights.final_norm_bias)
        self.head = matrix(weights.head)
        cos, sin = rotary_angles(spec, max_length)
        self.register_buffer("cos", None if cos is None else cos.to(device))
        self.register_buffer("sin", None if sin is None else sin.to(device))
        self._plans = self._plan_blocks() if whole_blocks else None
        self.prefixes: tuple[Tensor, Tensor] | tuple[None, None] = None, None

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
        x = self.embed(token_ids, positions)
        if self._plans is not None:
            return self._run_blocks(slice(None), x, slots, positions, keys, values)
        for number in range(len(self.layers)):
            x = self.block(number, x, slots, positions, keys[number], values[number])
        return x

    def embed(self, token_ids: Tensor, positions: Tensor) -> Tensor:
        """Return the residual stream before the first block, [tokens, hidden_size]; arguments as for `forward`."""
        x: Tensor = functional.embedding(token_ids, self.embedding)
        if self.embedding_scale != 1.0:
            x = x * self.embedding_scale
        return x if self.positions is None else x + self.positions[positions]

    def block(self, number: int, x: Tensor, slots: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Run the residual stream [tokens, hidden_size] through one block; other arguments as for `forward`."""
        if self._plans is not None:
            return self._run_blocks(slice(number, number + 1), x, slots, positions, [keys], [values])
        ops, spec, layer = self.operators, self.spec, self.layers[number]
        h = self._normalize(x, layer.attention_norm, layer.attention_norm_bias)
        a = self._attend(number, layer, h, slots, positions, keys, values)
        y = self._add(x, a, layer.out, layer.out_bias, layer.post_attention_norm)
        h = self._normalize(x if spec.parallel_residual else y, layer.mlp_norm, layer.mlp_norm_bias)
        u = self._linear(h, layer.up, spec.intermediate_size * (1 + spec.gated), layer.up_bias, None, False)
        u = ops.activate(u, spec.activation, spec.gated)
        return self._add(y, u, layer.down, layer.down_bias, layer.post_mlp_norm)

    def logits(self, x: Tensor) -> Tensor:
        """Turn the residual stream [tokens, hidden_size] into logits, float32 [tokens, vocab_size]."""
        ops, spec = self.operators, self.spec
        x = self._normalize(x, self.final_norm, self.final_norm_bias)
        logits = self._linear(x, self.head, spec.vocab_size, None, None, True)
        if not spec.logit_softcap:
            return logits
        capped: Tensor = ops.activate(logits / spec.logit_softcap, "tanh", False) * spec.logit_softcap
        return capped

    def _run_blocks(
        self, which: slice, x: Tensor, slots: Tensor, positions: Tensor, keys: list[Tensor], values: list[Tensor]
    ) -> Tensor:
        """Do what `block` does in one operator, without torch's part between its kernels."""
        assert self._plans is not None
        y: Tensor = self.operators.run_blocks(x, slots, positions, keys, values, self._plans[which], *self.prefixes)
        return y

    def _plan_blocks(self) -> Tensor:
        """Write down every block there is, for the operator; an embedder has fewer than the model's description."""
        spec = self.spec
        shape = spec.num_heads, spec.num_kv_heads, spec.head_dim, spec.intermediate_size, spec.activation, spec.gated
        plans = (
            self.operators.plan_block(
                *layer.weights(),
                *((self.cos, self.sin) if rotates else (None, None)),
                *(*shape, spec.norm_eps, spec.norm == "layer", spec.parallel_residual),
                *(spec.attention_scale, window, spec.attention_softcap),
            )
            for layer, rotates, window in zip(self.layers, spec.rotates, spec.windows, strict=False)
        )
        return torch.stack(list(plans))

    def _attend(
        self, number: int, layer: Any, x: Tensor, slots: Tensor, positions: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        ops, spec = self.operators, self.spec
        heads, kv_heads, head_dim = spec.num_heads, spec.num_kv_heads, spec.head_dim
        qkv = self._linear(x, layer.qkv, (heads + 2 * kv_heads) * head_dim, layer.qkv_bias, None, False)
        q, k, v = qkv.view(-1, heads + 2 * kv_heads, head_dim).split([heads, kv_heads, kv_heads], 1)
        if layer.query_norm is not None:
            q = self._normalize(q.reshape(-1, head_dim), layer.query_norm, None).view(q.shape)
            k = self._normalize(k.reshape(-1, head_dim), layer.key_norm, None).view(k.shape)
        cos, sin = (self.cos, self.sin) if spec.rotates[number] else (None, None)
        scale, window, softcap = spec.attention_scale, spec.windows[number], spec.attention_softcap
        a = ops.attend(q, k, v, cos, sin, keys, values, slots, positions, scale, window, softcap)
        attended: Tensor = a.view(-1, heads * head_dim)
        return attended

    def _linear(
        self, x: Tensor, matrix: Tensor, width: int, bias: Tensor | None, residual: Tensor | None, as_float: bool
    ) -> Tensor:
        ops = self.operators
        linear = ops.linear if self.quantization == "none" else ops.linear_int8
        y: Tensor = linear(x, matrix, width, bias, residual, as_float)
        return y

    def _add(self, x: Tensor, h: Tensor, matrix: Tensor, bias: Tensor | None, post_norm: Tensor | None) -> Tensor:
        """Multiply h by a matrix and add it to the residual stream x, normalised before where the model does that."""
        width = self.spec.hidden_size
        if post_norm is not None:
            return x + self._normalize(self._linear(h, matrix, width, bias, None, False), post_norm, None)
        return self._linear(h, matrix, width, bias, x, False)

    def _normalize(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor = self.operators.normalize(x, weight, bias, self.spec.norm_eps, self.spec.norm == "layer")
        return y


class _Layer(nn.Module):
    """One block's weights."""

    def __init__(self, layer: LayerWeights, vector: Any, norm: Any, matrix: Any) -> None:
        super().__init__()
        self.attention_norm, self.attention_norm_bias = norm(layer.attention_norm), norm(layer.attention_norm_bias)
        self.qkv, self.qkv_bias = matrix(layer.qkv), vector(layer.qkv_bias)
        self.query_norm, self.key_norm = norm(layer.query_norm), norm(layer.key_norm)
        self.out, self.out_bias = matrix(layer.out), vector(layer.out_bias)
        self.post_attention_norm = norm(layer.post_attention_norm)
        self.mlp_norm, self.mlp_norm_bias = norm(layer.mlp_norm), norm(layer.mlp_norm_bias)
        self.up, self.up_bias = matrix(layer.up), vector(layer.up_bias)
        self.down, self.down_bias = matrix(layer.down), vector(layer.down_bias)
        self.post_mlp_norm = norm(layer.post_mlp_norm)

    def weights(self) -> tuple[Tensor | None, ...]:
        """List them in the order in which the block uses them."""
        return (
            *(self.attention_norm, self.attention_norm_bias, self.qkv, self.qkv_bias, self.query_norm, self.key_norm),
            *(self.out, self.out_bias, self.post_attention_norm),
            *(self.mlp_norm, self.mlp_norm_bias, self.up, self.up_bias, self.down, self.down_bias, self.post_mlp_norm),
        )


def rotary_angles(spec: DecoderSpec, max_length: int) -> tuple[Tensor | None, Tensor | None]:
    """Tabulate the rotary embedding's cosines and sines.

    Args:
        spec: the decoder's shape.
        max_length: number of positions.

    Returns:
        Two float32 tensors [max_length, pairs that turn], or None twice where positions are learned.
    """
    if spec.rope is None:
        return None, None
    frequency = torch.from_numpy(inverse_frequencies(spec.rope))
    angle = torch.arange(max_length, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def _tensor(array: np.ndarray) -> Tensor:
    """View a NumPy array as a tensor; NumPy's own bfloat16 comes from ml_dtypes, which torch does not know."""
    array = np.require(array, requirements=["C", "W"])
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _by_turns(layer: LayerWeights) -> LayerWeights:
    """Lay gate and up out by turns of 16 outputs, as the operators of whole blocks want them."""

    def turned(array: np.ndarray) -> np.ndarray:
        return array.reshape(2, -1, 16, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)

    bias = layer.up_bias
    return replace(layer, up=turned(layer.up), up_bias=None if bias is None else turned(bias))


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
