"""The config.json that a GGUF file's metadata amounts to; whatever it cannot say is refused."""

from pathlib import Path
from typing import Any

import numpy as np

from server.errors import ModelError

_SHAPE_KEYS = {
    "llama.block_count": "num_hidden_layers",
    "llama.context_length": "max_position_embeddings",
    "llama.embedding_length": "hidden_size",
    "llama.feed_forward_length": "intermediate_size",
    "llama.attention.head_count": "num_attention_heads",
}
# Keys that say how long a vector is, each checked below, or that change nothing.
_OTHER_KEYS = {
    "llama.vocab_size",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.value_length",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scaling.type",
}


def config_from_metadata(path: Path, metadata: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Write a config for a GGUF file of architecture `llama`.

    Args:
        path: the file, for the messages.
        metadata: the file's keys and values.
        shapes: the file's tensors, outermost dimension first.

    Returns:
        The contents of `config.json`, without `dtype`.

    Raises:
        ModelError: another architecture, a missing key, or a trait that a config of family `llama` cannot say.
    """
    _refuse_what_is_not_honoured(path, metadata)
    config = {key: _count(path, metadata, name) for name, key in _SHAPE_KEYS.items()}
    heads, hidden_size = config["num_attention_heads"], config["hidden_size"]
    head_dim = _count(path, metadata, "llama.attention.key_length", default=hidden_size // heads)
    for name in ("llama.attention.value_length", "llama.rope.dimension_count"):
        if _count(path, metadata, name, default=head_dim) != head_dim:
            raise ModelError(f"{path}: {name} is {metadata[name]}; supported: the width of a head, {head_dim}")
    if "token_embd.weight" not in shapes:
        raise ModelError(f"{path}: tensor token_embd.weight is missing")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **config,
        "num_key_value_heads": _count(path, metadata, "llama.attention.head_count_kv", default=heads),
        "head_dim": head_dim,
        "vocab_size": shapes["token_embd.weight"][0],
        "hidden_act": "silu",
        "rms_norm_eps": _number(path, metadata, "llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": _number(path, metadata, "llama.rope.freq_base", default=10000.0),
        "tie_word_embeddings": "output.weight" not in shapes,
        "attention_bias": any(name.endswith(".attn_q.bias") for name in shapes),
        "mlp_bias": any(name.endswith(".ffn_up.bias") for name in shapes),
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": _eos_token_ids(metadata),
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
    }


def _refuse_what_is_not_honoured(path: Path, metadata: dict[str, Any]) -> None:
    architecture = metadata.get("general.architecture")
    if architecture != "llama":
        raise ModelError(f"{path}: architecture {architecture!r} is not supported in GGUF; supported: 'llama'")
    if metadata.get("split.count", 1) > 1:
        raise ModelError(f"{path} is one of {metadata['split.count']} pieces; merge them into one file first")
    scaling = metadata.get("llama.rope.scaling.type", "none")
    if scaling != "none":
        raise ModelError(f"{path}: llama.rope.scaling.type {scaling!r} is not supported; supported: 'none'")
    known = {*_SHAPE_KEYS, *_OTHER_KEYS}
    unknown = sorted(name for name in metadata if name.startswith("llama.") and name not in known)
    if unknown:
        raise ModelError(f"{path}: {', '.join(unknown)} would change the model and is not supported")


def _count(path: Path, metadata: dict[str, Any], name: str, default: int | None = None) -> int:
    value = metadata.get(name, default)
    if not isinstance(value, int) or value < 1:
        raise ModelError(f"{path}: {name} must be one positive integer; it is {str(value)[:60]}")
    return value


def _number(path: Path, metadata: dict[str, Any], name: str, default: float | None = None) -> float:
    value = metadata.get(name, default)
    if not isinstance(value, int | float) or value <= 0:
        raise ModelError(f"{path}: {name} must be a positive number; it is {str(value)[:60]}")
    # The file holds float32, whose shortest decimal is the number that was meant: 1e-05, not 9.99999974e-06.
    return float(str(np.float32(value)))


def _eos_token_ids(metadata: dict[str, Any]) -> int | list[int] | None:
    names = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    token_ids = list(dict.fromkeys(metadata[name] for name in names if name in metadata))
    return token_ids if len(token_ids) > 1 else next(iter(token_ids), None)
