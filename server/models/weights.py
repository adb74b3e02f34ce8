"""DecoderWeights: a model's matrices as NumPy arrays, fused the way the decoder multiplies by them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from server.errors import ModelError
from server.models.progress import Progress, report_nothing
from server.models.spec import DecoderSpec
from server.models.tensor_names import TENSOR_NAMES, TensorNames

if TYPE_CHECKING:
    from server.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One block's weights; matrices are [out_features, in_features], norms and biases None where the model has none.

    Attributes:
        attention_norm: scale of the norm before the attention, [hidden].
        attention_norm_bias: [hidden].
        qkv: query, key and value rows stacked, [(heads + 2 · kv_heads) · head_dim, hidden].
        qkv_bias: [(heads + 2 · kv_heads) · head_dim].
        query_norm: scale of the RMS norm of each query head, before it turns, [head_dim].
        key_norm: likewise for each key head.
        out: [hidden, heads · head_dim].
        out_bias: [hidden].
        post_attention_norm: scale of the norm of what the attention adds to the residual stream, [hidden].
        mlp_norm: scale of the norm before the feed-forward layer, [hidden].
        mlp_norm_bias: [hidden].
        up: gate rows, then up rows, where the layer is gated: [2 · intermediate, hidden]; else [intermediate, hidden].
        up_bias: like the rows of `up`.
        down: [hidden, intermediate].
        down_bias: [hidden].
        post_mlp_norm: scale of the norm of what the feed-forward layer adds to the residual stream, [hidden].
    """

    attention_norm: np.ndarray
    attention_norm_bias: np.ndarray | None
    qkv: np.ndarray
    qkv_bias: np.ndarray | None
    query_norm: np.ndarray | None
    key_norm: np.ndarray | None
    out: np.ndarray
    out_bias: np.ndarray | None
    post_attention_norm: np.ndarray | None
    mlp_norm: np.ndarray
    mlp_norm_bias: np.ndarray | None
    up: np.ndarray
    up_bias: np.ndarray | None
    down: np.ndarray
    down_bias: np.ndarray | None
    post_mlp_norm: np.ndarray | None


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """A decoder's weights, in the types of the file: float32, float16 or bfloat16 (of ml_dtypes), all finite.

    Scales of norms are what the normalised values are multiplied by, in float32 where the file keeps them otherwise.

    Attributes:
        embedding: [vocab, hidden].
        positions: learned position embedding, position 0 first, [context, hidden]; None where positions are rotary.
        layers: the blocks, first to last.
        final_norm: scale of the norm before the head, [hidden].
        final_norm_bias: [hidden]; None where the norm has none.
        head: [vocab, hidden]; the very same array as `embedding` where the head is tied.
    """

    embedding: np.ndarray
    positions: np.ndarray | None
    layers: tuple[LayerWeights, ...]
    final_norm: np.ndarray
    final_norm_bias: np.ndarray | None
    head: np.ndarray


def read_weights(folder: Path, spec: DecoderSpec, progress: Progress | None = None) -> DecoderWeights:
    """Read a model's weights from its safetensors files.

    Args:
        folder: holds `model.safetensors`, or shards and `model.safetensors.index.json`.
        spec: read from the same folder's config; every shape is checked against it.
        progress: called after each layer; None: nobody is told.

    Raises:
        ModelError: a file is missing, damaged or a pickle; a tensor is missing, of a wrong shape or type, or not
            finite; or the files hold tensors that this family has no place for.
    """
    from server.models.checkpoint import open_checkpoint  # random weights need no library that reads files

    report = progress or report_nothing
    names = TENSOR_NAMES[spec.family]
    with open_checkpoint(folder, names.prefix) as checkpoint:
        embedding = checkpoint.take(f"{names.embedding}.weight", (spec.vocab_size, spec.hidden_size))
        layers = []
        for number in range(spec.num_layers):
            layers.append(_Layer(checkpoint, names, spec, number).read())
            report("reading weights", (number + 1) / spec.num_layers)
        weights = DecoderWeights(
            embedding=embedding,
            positions=_positions(checkpoint, names, spec),
            layers=tuple(layers),
            final_norm=_norm(checkpoint, names, names.final_norm, spec.hidden_size),
            final_norm_bias=_norm_bias(checkpoint, names.final_norm, spec),
            head=_head(checkpoint, names, spec, embedding, folder),
        )
        _refuse_what_is_left(checkpoint, names, folder)
    return weights


class _Layer:
    """Reads one block."""

    def __init__(self, checkpoint: Checkpoint, names: TensorNames, spec: DecoderSpec, number: int) -> None:
        self._checkpoint = checkpoint
        self._names = names
        self._spec = spec
        self._start = names.layer.format(number)

    def read(self) -> LayerWeights:
        names, spec = self._names, self._spec
        queries, keys = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        qkv_rows = [queries, keys, keys]
        up_rows = [spec.intermediate_size] * (2 if spec.gated else 1)
        attention_norm, mlp_norm = self._start + names.attention_norm, self._start + names.mlp_norm
        qkv_bias = self._bias(names.qkv, qkv_rows, spec.qkv_bias)
        return LayerWeights(
            attention_norm=_norm(self._checkpoint, names, attention_norm, spec.hidden_size),
            attention_norm_bias=_norm_bias(self._checkpoint, attention_norm, spec),
            qkv=self._queries_first(self._matrix(names.qkv, qkv_rows, spec.hidden_size)),
            qkv_bias=None if qkv_bias is None else self._queries_first(qkv_bias),
            query_norm=self._optional_norm(names.query_norm, spec.head_dim),
            key_norm=self._optional_norm(names.key_norm, spec.head_dim),
            out=self._matrix((names.out,), [spec.hidden_size], queries),
            out_bias=self._bias((names.out,), [spec.hidden_size], spec.out_bias),
            post_attention_norm=self._optional_norm(names.post_attention_norm, spec.hidden_size),
            mlp_norm=_norm(self._checkpoint, names, mlp_norm, spec.hidden_size),
            mlp_norm_bias=_norm_bias(self._checkpoint, mlp_norm, spec),
            up=self._matrix(names.up, up_rows, spec.hidden_size),
            up_bias=self._bias(names.up, up_rows, spec.mlp_bias),
            down=self._matrix((names.down,), [spec.hidden_size], spec.intermediate_size),
            down_bias=self._bias((names.down,), [spec.hidden_size], spec.mlp_bias),
            post_mlp_norm=self._optional_norm(names.post_mlp_norm, spec.hidden_size),
        )

    def _matrix(self, modules: tuple[str, ...], rows: list[int], columns: int) -> np.ndarray:
        return _stack([self._oriented(module, count, columns) for module, count in _per_module(modules, rows)])

    def _oriented(self, module: str, rows: int, columns: int) -> np.ndarray:
        name = f"{self._start}{module}.weight"
        if self._names.transposed:
            return np.ascontiguousarray(self._checkpoint.take(name, (columns, rows)).T)
        return self._checkpoint.take(name, (rows, columns))

    def _bias(self, modules: tuple[str, ...], rows: list[int], present: bool) -> np.ndarray | None:
        if not present:
            return None
        parts = _per_module(modules, rows)
        return _stack([self._checkpoint.take(f"{self._start}{module}.bias", (count,)) for module, count in parts])

    def _queries_first(self, rows: np.ndarray) -> np.ndarray:
        """Stack all queries, all keys, all values where the file has them head by head."""
        if not self._names.head_by_head:
            return rows
        heads = rows.reshape(self._spec.num_heads, 3, self._spec.head_dim, *rows.shape[1:])
        return np.ascontiguousarray(heads.swapaxes(0, 1)).reshape(rows.shape)

    def _optional_norm(self, module: str | None, width: int) -> np.ndarray | None:
        return None if module is None else _norm(self._checkpoint, self._names, self._start + module, width)


def _per_module(modules: tuple[str, ...], rows: list[int]) -> list[tuple[str, int]]:
    counts = rows if len(modules) == len(rows) else [sum(rows)]
    return list(zip(modules, counts, strict=True))


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    kinds = {part.dtype for part in parts}
    # NumPy knows no common type of float16 and bfloat16; float32 holds both exactly.
    kind = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
    return np.concatenate([part.astype(kind, copy=False) for part in parts])


def _norm(checkpoint: Checkpoint, names: TensorNames, module: str, width: int) -> np.ndarray:
    scale = checkpoint.take(f"{module}.weight", (width,))
    if not names.norm_offset:
        return scale
    # bfloat16 has no room for a small number beside the one that is added.
    return scale.astype(np.float32) + np.float32(names.norm_offset)


def _norm_bias(checkpoint: Checkpoint, module: str, spec: DecoderSpec) -> np.ndarray | None:
    return checkpoint.take(f"{module}.bias", (spec.hidden_size,)) if spec.norm == "layer" else None


def _positions(checkpoint: Checkpoint, names: TensorNames, spec: DecoderSpec) -> np.ndarray | None:
    if names.positions is None:
        return None
    rows = names.first_position + spec.context_length
    return checkpoint.take(f"{names.positions}.weight", (rows, spec.hidden_size))[names.first_position :]


def _head(
    checkpoint: Checkpoint, names: TensorNames, spec: DecoderSpec, embedding: np.ndarray, folder: Path
) -> np.ndarray:
    stored = [f"{module}.weight" for module in names.head]
    name = next((name for name in stored if name in checkpoint), stored[0])
    if spec.tied_head and name not in checkpoint:
        return embedding
    head = checkpoint.take(name, (spec.vocab_size, spec.hidden_size))
    if not spec.tied_head:
        return head
    if not np.array_equal(head.view(np.uint8), embedding.view(np.uint8)):
        raise ModelError(
            f"{folder}: tensor {name} differs from the embedding, but config.json says that they are tied "
            "(tie_word_embeddings); set it to false or save the model again"
        )
    return embedding


def _refuse_what_is_left(checkpoint: Checkpoint, names: TensorNames, folder: Path) -> None:
    left = [name for name in checkpoint.left() if not re.fullmatch(names.buffers, name)]
    if left:
        raise ModelError(
            f"{folder}: the weights hold {len(left)} tensors that config.json gives no place, the first is {left[0]}; "
            "leaving them out would change the model's answers: is the config the one of these weights?"
        )
