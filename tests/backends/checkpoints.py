"""Tiny random checkpoints that transformers writes: every model family, and every trait that a family may have."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCAB_SIZE = 211  # not a multiple of what a kernel takes at once
MAX_LENGTH = 64
WINDOW = 7  # a few positions, and not a divisor of any chunk

FAR_WINDOW = 150  # beyond the positions that a kernel takes in one piece

_TOKENS = {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SHAPE = _TOKENS | {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
}
_WIDE = _SHAPE | {"head_dim": 16}  # a head is wider than its share of the hidden size
_EVEN = _SHAPE | {"num_attention_heads": 3, "num_key_value_heads": 1}  # heads share the hidden size, 16 each
_GPT2 = _TOKENS | {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": MAX_LENGTH}
_NEOX = _TOKENS | {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
}
_OPT = _TOKENS | {
    "hidden_size": 48,
    "ffn_dim": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": MAX_LENGTH,
}
_LLAMA3_ROPE = {"rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_ROPE |= {
    "rope_type": "llama3",
    "original_max_position_embeddings": 32,
}  # some pairs stay, some mix, some stretch
_SLIDING_SECOND = ["full_attention", "sliding_attention"]

_FAR = _WIDE | {"max_position_embeddings": 320, "sliding_window": FAR_WINDOW}

# Name → model_type, and the config's fields.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _WIDE),
    "llama with biases, gelu": ("llama", _WIDE | {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}),
    "llama tied": ("llama", _EVEN | {"tie_word_embeddings": True}),
    "llama linear rope": ("llama", _WIDE | {"rope_parameters": {"rope_type": "linear", "factor": 3.0}}),
    "llama llama3 rope": ("llama", _WIDE | {"rope_parameters": _LLAMA3_ROPE}),
    "mistral": ("mistral", _WIDE | {"sliding_window": None}),
    "mistral sliding": ("mistral", _WIDE | {"sliding_window": WINDOW}),
    "qwen2": ("qwen2", _EVEN),
    "qwen2 sliding late": (
        "qwen2",
        _EVEN | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", _WIDE),
    "qwen3 sliding by type, biases": (
        "qwen3",
        _WIDE
        | {
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "layer_types": _SLIDING_SECOND,
            "attention_bias": True,
        },
    ),
    "smollm3": ("smollm3", _EVEN | {"no_rope_layers": [1, 0]}),
    "smollm3 sliding, biases, untied": (
        "smollm3",
        _EVEN
        | {"no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": WINDOW, "mlp_bias": True}
        | {"attention_bias": True, "tie_word_embeddings": False},
    ),
    "phi3": ("phi3", _EVEN),
    "phi3 sliding, partly rotary": (
        "phi3",
        _EVEN | {"sliding_window": WINDOW, "rope_parameters": {"partial_rotary_factor": 0.5, "rope_type": "default"}},
    ),
    "gemma": ("gemma", _WIDE),
    "gemma with biases, one key head": ("gemma", _WIDE | {"attention_bias": True, "num_key_value_heads": 1}),
    "gemma2": (
        "gemma2",
        _WIDE
        | {"sliding_window": WINDOW, "query_pre_attn_scalar": 40, "attn_logit_softcapping": 1.5}
        | {"final_logit_softcapping": 2.5},
    ),
    "gemma2 without caps, sliding second": (
        "gemma2",
        _WIDE
        | {"sliding_window": WINDOW, "layer_types": _SLIDING_SECOND, "attn_logit_softcapping": None}
        | {"final_logit_softcapping": None, "attention_bias": True},
    ),
    "gpt2": ("gpt2", _GPT2),
    "gpt2 narrow, relu, untied": (
        "gpt2",
        _GPT2 | {"n_inner": 48, "activation_function": "relu", "tie_word_embeddings": False},
    ),
    "gpt_neox": ("gpt_neox", _NEOX),
    "gpt_neox serial, odd rotary width, no biases": (
        "gpt_neox",
        _NEOX
        | {"use_parallel_residual": False, "attention_bias": False, "tie_word_embeddings": True}
        | {"rope_parameters": {"partial_rotary_factor": 0.35, "rope_theta": 500.0, "rope_type": "default"}},
    ),
    "gpt_neox linear rope": (
        "gpt_neox",
        _NEOX | {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}},
    ),
    "opt": ("opt", _OPT),
    "opt without biases, untied, gelu": (
        "opt",
        _OPT | {"enable_bias": False, "tie_word_embeddings": False, "activation_function": "gelu"},
    ),
}
FAR_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral far": ("mistral", _FAR),
    "gemma2 far": ("gemma2", _FAR | {"query_pre_attn_scalar": 16}),
}


def write_checkpoint(case: str, folder: Path, *, max_shard_size: str = "1GB") -> PreTrainedModel:
    """Save a case and return the model that was saved: float32, attention written out.

    Norms and biases are far from one and zero, so that each of them matters; logits are about one wide. Attention is
    transformers' plain one, since its faster ones leave softcaps out.
    """
    model_type, fields = (CASES | FAR_CASES)[case]
    config = AutoConfig.for_model(model_type, **fields)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter + 0.3 * noise if parameter.ndim == 1 else 0.15 * noise)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return model
