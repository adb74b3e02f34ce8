"""DecoderWeights: a model's matrices as NumPy arrays, fused the way the decoder multiplies by them."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server.errors import ModelError
from server.models.checkpoint import Checkpoint, open_checkpoint
from server.models.progress import Progress, report_nothing
from server.models.spec import DecoderSpec
from server.models.tensor_names import TENSOR_NAMES, TensorNames


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One block's weights; matrices are [out_features, in_features], biases None where the model has none.

    Attributes:
        attention_norm: scale of the norm before the attention, [hidden].
        attention_norm_bias: [hidden].
        qkv: query, key and value rows stacked, [(heads + 2 · kv_heads) · head_dim, hidden].
        qkv_bias: [(heads + 2 · kv_heads) · head_dim].
        out: [hidden, heads · head_dim].
        out_bias: [hidden].
        mlp_norm: scale of the norm before the feed-forward layer, [hidden].
        mlp_norm_bias: [hidden].
        up: gate rows, then up rows, where the layer is gated: [2 · intermediate, hidden]; else [intermediate, hidden].
        up_bias: like the rows of `up`.
        down: [hidden, intermediate].
        down_bias: [hidden].
    """

    attention_norm: np.ndarray
    attention_norm_bias: np.ndarray | None
    qkv: np.ndarray
    qkv_bias: np.ndarray | None
    out: np.ndarray
    out_bias: np.ndarray | None
    mlp_norm: np.ndarray
    mlp_norm_bias: np.ndarray | None
    up: np.ndarray
    up_bias: np.ndarray | None
    down: np.ndarray
    down_bias: np.ndarray | None


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """A decoder's weights, in the types of the file: float32, float16 or bfloat16 (of ml_dtypes), all finite.

    Attributes:
        embedding: [vocab, hidden].
        positions: learned position embedding, [context, hidden]; None where positions are rotary.
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
    report = progress or report_nothing
    names = TENSOR_NAMES[spec.family]
    with open_checkpoint(folder, names.prefix) as checkpoint:
        embedding = checkpoint.take(f"{names.embedding}.weight", (spec.vocab_size, spec.hidden_size))
        layers = []
        for number in range(spec.num_layers):
            layers.append(_Layer(checkpoint, names, spec, number).read())
            report("reading weights", (number + 1) / spec.num_layers)
        final_norm, final_norm_bias = _norm(checkpoint, names.final_norm, spec)
        weights = DecoderWeights(
            embedding=embedding,
            positions=_positions(checkpoint, names, spec),
            layers=tuple(layers),
            final_norm=final_norm,
            final_norm_bias=final_norm_bias,
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
        attention_norm, attention_norm_bias = _norm(self._checkpoint, self._start + names.attention_norm, spec)
        mlp_norm, mlp_norm_bias = _norm(self._checkpoint, self._start + names.mlp_norm, spec)
        return LayerWeights(
            attention_norm=attention_norm,
            attention_norm_bias=attention_norm_bias,
            qkv=self._matrix(names.qkv, qkv_rows, spec.hidden_size),
            qkv_bias=self._bias(names.qkv, qkv_rows, spec.attention_bias),
            out=self._matrix((names.out,), [spec.hidden_size], queries),
            out_bias=self._bias((names.out,), [spec.hidden_size], spec.attention_bias),
            mlp_norm=mlp_norm,
            mlp_norm_bias=mlp_norm_bias,
            up=self._matrix(names.up, up_rows, spec.hidden_size),
            up_bias=self._bias(names.up, up_rows, spec.mlp_bias),
            down=self._matrix((names.down,), [spec.hidden_size], spec.intermediate_size),
            down_bias=self._bias((names.down,), [spec.hidden_size], spec.mlp_bias),
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


def _norm(checkpoint: Checkpoint, module: str, spec: DecoderSpec) -> tuple[np.ndarray, np.ndarray | None]:
    scale = checkpoint.take(f"{module}.weight", (spec.hidden_size,))
    bias = checkpoint.take(f"{module}.bias", (spec.hidden_size,)) if spec.norm == "layer" else None
    return scale, bias


def _positions(checkpoint: Checkpoint, names: TensorNames, spec: DecoderSpec) -> np.ndarray | None:
    if names.positions is None:
        return None
    return checkpoint.take(f"{names.positions}.weight", (spec.context_length, spec.hidden_size))


def _head(
    checkpoint: Checkpoint, names: TensorNames, spec: DecoderSpec, embedding: np.ndarray, folder: Path
) -> np.ndarray:
    name = f"{names.head}.weight"
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
