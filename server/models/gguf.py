"""Convert a GGUF file to a model folder: safetensors, config and tokenizer; quantised matrices become bfloat16."""

import re
import shutil
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from server.errors import ModelError
from server.models.checkpoint import WEIGHTS_FILE
from server.models.gguf_config import config_from_metadata
from server.models.gguf_tokenizer import write_tokenizer
from server.models.json_file import write_json
from server.models.progress import Progress, report_nothing
from server.models.publish import published_folder

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NAME = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<module>[a-z_]+)\.(?P<kind>weight|bias)")


def convert_gguf(path: Path, target: Path, progress: Progress | None = None) -> Path:
    """Convert a GGUF file of architecture `llama` to a model folder.

    Args:
        path: the GGUF file, in one piece.
        target: the folder to make, whole or not at all; if it is there already, it stays as it is.
        progress: called after each tensor; None: nobody is told.

    Returns:
        `target`.

    Raises:
        ModelError: the file is damaged, or its architecture, a trait, a tensor or its tokenizer is not supported; or
            `target` cannot be written.
    """
    with published_folder(target) as folder:
        write_converted(path, folder, progress)
    return target


def write_converted(path: Path, folder: Path, progress: Progress | None = None) -> None:
    """Write what `convert_gguf` makes into an empty folder, which a failure leaves half full."""
    report = progress or report_nothing
    metadata, tensors = _read(path)
    config = config_from_metadata(path, metadata, {name: _shape(tensor) for name, tensor in tensors.items()})
    write_tokenizer(path, metadata, folder)
    weights = {}
    for done, (name, tensor) in enumerate(tensors.items(), start=1):
        weights[_stored_name(path, name)] = _unpermuted(path, name, _values(path, tensor), config)
        report("converting weights", done / len(tensors))
    write_json(folder / "config.json", {**config, "dtype": str(weights["model.embed_tokens.weight"].dtype)})
    try:
        save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    except SafetensorError as error:
        raise ModelError(f"{folder / WEIGHTS_FILE} cannot be written: {error}") from error
    # safetensors writes private files; a model folder may be shared like any other.
    shutil.copymode(folder / "config.json", folder / WEIGHTS_FILE)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, gguf.ReaderTensor]]:
    try:
        reader = gguf.GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, KeyError, IndexError, OverflowError, OSError) as error:
        raise ModelError(f"{path} is not a whole GGUF file ({error}); copy it again") from error
    return metadata, {tensor.name: tensor for tensor in reader.tensors}


def _shape(tensor: gguf.ReaderTensor) -> tuple[int, ...]:
    return tuple(reversed(tensor.shape.tolist()))  # GGUF counts dimensions from the innermost


def _stored_name(path: Path, name: str) -> str:
    match = _NAME.fullmatch(name)
    table = _OUTER if match and match["layer"] is None else _INNER
    if match is None or match["module"] not in table:
        raise ModelError(f"{path}: tensor {name} is not supported for architecture 'llama'")
    layer = "" if match["layer"] is None else f"model.layers.{int(match['layer'])}."
    return f"{layer}{table[match['module']]}.{match['kind']}"


def _values(path: Path, tensor: gguf.ReaderTensor) -> np.ndarray:
    kind = tensor.tensor_type
    if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
        values = np.array(tensor.data)
    elif kind == gguf.GGMLQuantizationType.BF16:
        values = np.array(tensor.data).view(ml_dtypes.bfloat16)
    else:
        try:
            values = gguf.dequantize(tensor.data, kind).astype(ml_dtypes.bfloat16)
        except NotImplementedError as error:
            raise ModelError(
                f"{path}: tensor {tensor.name} is quantised as {kind.name}, which cannot be read"
            ) from error
    return values.reshape(_shape(tensor))


def _unpermuted(path: Path, name: str, values: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Undo llama.cpp's order of query and key rows, which puts the two halves of a rotary pair side by side."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    num_heads = heads.get(name.split(".")[-2])
    if num_heads is None:
        return values
    if values.shape[0] != num_heads * config["head_dim"]:
        raise ModelError(f"{path}: tensor {name} has {values.shape[0]} rows, not {num_heads} x {config['head_dim']}")
    pairs = values.reshape(num_heads, config["head_dim"] // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)
