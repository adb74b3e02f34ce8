"""The model families that the decoder runs: where each keeps its shape in config.json, and what it always does.

A new family is a row here and one in `tensor_names.py`. What a config may ask beyond these rows is in `identities.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}

_ROPE_KEYS = {"rope_theta": ("rope_theta",)}
_DEFAULTS = {
    "qkv_bias": False,
    "out_bias": False,
    "mlp_bias": False,
    "parallel_residual": False,
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "use_sliding_window": True,
}


@dataclass(frozen=True, slots=True)
class Family:
    """One model family.

    Attributes:
        keys: field, of DecoderSpec or of what is read on the way to it → key in config.json.
        defaults: field → its value where config.json does not say.
        norm: kind of normalisation.
        gated: whether the feed-forward layer multiplies by a gate.
        rotary: whether positions are rotary; otherwise they are learned.
        identities: like `IDENTITIES`, for keys that only this family reads.
        equal: key → key that must hold the same, for what the family has only in other proportions.
        rope_keys: `rope_theta` and, where part of a head may turn, `partial_rotary_factor` → their keys beside
            `rope_parameters`; all that are there must agree.
        sliding: which layers see a window of positions, where there is a window and `layer_types` does not say:
            none, every one, those from `max_window_layers` on, those without rotary positions, or every other one.
        scaled_embedding: whether embeddings are multiplied by √hidden_size.
        activations: name in config.json → activation.
    """

    keys: Mapping[str, str]
    defaults: Mapping[str, Any]
    norm: Literal["rms", "layer"] = "rms"
    gated: bool = True
    rotary: bool = True
    identities: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    equal: Mapping[str, str] = field(default_factory=dict)
    rope_keys: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _ROPE_KEYS)
    sliding: Literal["none", "every", "late", "unrotated", "alternate"] = "none"
    scaled_embedding: bool = False
    activations: Mapping[str, Activation] = field(default_factory=lambda: ACTIVATIONS)

    def honours(self, key: str) -> bool:
        """Say whether a key of config.json is read for this family."""
        return key in self.keys.values() or any(key in keys for keys in self.rope_keys.values())


_SHAPE_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "context_length": "max_position_embeddings",
    "activation": "hidden_act",
    "tied_head": "tie_word_embeddings",
}
_RMS_KEYS = {
    **_SHAPE_KEYS,
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "norm_eps": "rms_norm_eps",
}
_RMS_DEFAULTS = {**_DEFAULTS, "norm_eps": 1e-6, "activation": "silu", "tied_head": False}
_BIAS_KEYS = {"qkv_bias": "attention_bias", "out_bias": "attention_bias"}
_ALL_BIASES = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}
_WINDOW_KEYS = {"sliding_window": "sliding_window"}
_LAYER_TYPE_KEYS = {**_WINDOW_KEYS, "layer_types": "layer_types"}
_SWITCHED_WINDOW_KEYS = {**_LAYER_TYPE_KEYS, "use_sliding_window": "use_sliding_window"}
_LATE_WINDOW_KEYS = {**_SWITCHED_WINDOW_KEYS, "max_window_layers": "max_window_layers"}
_LATE_WINDOW_DEFAULTS = {"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 28}

FAMILIES: dict[str, Family] = {
    "llama": Family(
        keys={**_RMS_KEYS, **_BIAS_KEYS, "mlp_bias": "mlp_bias"},
        defaults=_RMS_DEFAULTS,
    ),
    "mistral": Family(
        keys={**_RMS_KEYS, **_WINDOW_KEYS},
        defaults={**_RMS_DEFAULTS, "num_kv_heads": 8, "sliding_window": 4096},
        identities={"layer_types": ()},
        sliding="every",
    ),
    "qwen2": Family(
        keys={**_RMS_KEYS, **_LATE_WINDOW_KEYS},
        defaults={**_RMS_DEFAULTS, **_LATE_WINDOW_DEFAULTS, "num_kv_heads": 32, "qkv_bias": True},
        sliding="late",
    ),
    "qwen3": Family(
        keys={**_RMS_KEYS, **_LATE_WINDOW_KEYS, **_BIAS_KEYS},
        defaults={**_RMS_DEFAULTS, **_LATE_WINDOW_DEFAULTS, "num_kv_heads": 32, "head_dim": 128},
        sliding="late",
    ),
    "smollm3": Family(
        keys={
            **_RMS_KEYS,
            **_SWITCHED_WINDOW_KEYS,
            **_BIAS_KEYS,
            "mlp_bias": "mlp_bias",
            "rotates": "no_rope_layers",
            "unrotated_interval": "no_rope_layer_interval",
        },
        defaults={
            **_RMS_DEFAULTS,
            "num_kv_heads": 4,
            "tied_head": True,
            "rope_theta": 2000000.0,
            "unrotated_interval": 4,
            "use_sliding_window": False,
        },
        identities={"pretraining_tp": (1, 2)},  # checkpoints carry a 2, which concerns another model's products
        sliding="unrotated",
    ),
    "phi3": Family(
        keys={**_RMS_KEYS, **_WINDOW_KEYS},
        defaults={**_RMS_DEFAULTS, "norm_eps": 1e-5},
        identities={"layer_types": ()},
        rope_keys={**_ROPE_KEYS, "partial_rotary_factor": ("partial_rotary_factor",)},
        sliding="every",
    ),
    "gemma": Family(
        keys={**_RMS_KEYS, **_BIAS_KEYS},
        defaults={
            **_RMS_DEFAULTS,
            "num_kv_heads": 16,
            "head_dim": 256,
            "activation": "gelu_pytorch_tanh",
            "tied_head": True,
        },
        identities={"hidden_activation": ("gelu_pytorch_tanh",)},
        scaled_embedding=True,
        activations={**ACTIVATIONS, "gelu": "gelu_tanh"},  # what the first configs call gelu was trained with tanh
    ),
    "gemma2": Family(
        keys={
            **_RMS_KEYS,
            **_LAYER_TYPE_KEYS,
            **_BIAS_KEYS,
            "activation": "hidden_activation",
            "scaled_head_dim": "query_pre_attn_scalar",
            "attention_softcap": "attn_logit_softcapping",
            "logit_softcap": "final_logit_softcapping",
        },
        defaults={
            **_RMS_DEFAULTS,
            "num_kv_heads": 4,
            "head_dim": 256,
            "activation": "gelu_pytorch_tanh",
            "tied_head": True,
            "scaled_head_dim": 256,
            "attention_softcap": 50.0,
            "logit_softcap": 30.0,
            "sliding_window": 4096,
        },
        sliding="alternate",
        scaled_embedding=True,
    ),
    "gpt2": Family(
        norm="layer",
        gated=False,
        rotary=False,
        keys={
            "vocab_size": "vocab_size",
            "hidden_size": "n_embd",
            "num_layers": "n_layer",
            "num_heads": "n_head",
            "intermediate_size": "n_inner",
            "context_length": "n_positions",
            "norm_eps": "layer_norm_epsilon",
            "activation": "activation_function",
            "tied_head": "tie_word_embeddings",
        },
        defaults={**_DEFAULTS, **_ALL_BIASES, "norm_eps": 1e-5, "activation": "gelu_new", "tied_head": True},
        identities={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "reorder_and_upcast_attn": (False,),
        },
    ),
    "gpt_neox": Family(
        norm="layer",
        gated=False,
        rotary=True,
        keys={
            **_SHAPE_KEYS,
            **_BIAS_KEYS,
            "norm_eps": "layer_norm_eps",
            "parallel_residual": "use_parallel_residual",
        },
        defaults={
            **_DEFAULTS,
            **_ALL_BIASES,
            "norm_eps": 1e-5,
            "activation": "gelu",
            "tied_head": False,
            "parallel_residual": True,
            "partial_rotary_factor": 0.25,
        },
        rope_keys={
            "rope_theta": ("rotary_emb_base", "rope_theta"),
            "partial_rotary_factor": ("rotary_pct", "partial_rotary_factor"),
        },
    ),
    "opt": Family(
        norm="layer",
        gated=False,
        rotary=False,
        keys={
            **_SHAPE_KEYS,
            "intermediate_size": "ffn_dim",
            "activation": "activation_function",
            "qkv_bias": "enable_bias",
            "out_bias": "enable_bias",
            "mlp_bias": "enable_bias",
        },
        defaults={**_DEFAULTS, **_ALL_BIASES, "norm_eps": 1e-5, "activation": "relu", "tied_head": True},
        identities={
            "do_layer_norm_before": (True,),
            "_remove_final_layer_norm": (False,),
            "layer_norm_elementwise_affine": (True,),
        },
        equal={"word_embed_proj_dim": "hidden_size"},
    ),
}
