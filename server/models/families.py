"""The model families that the decoder runs: where each keeps its shape in config.json, and what it always does.

A new family is a row here and one in `tensor_names.py`. Whatever a config may ask beyond these rows is in `IDENTITIES`:
a key there with any other value changes the computation and is refused, never dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Family:
    """One model family.

    Attributes:
        norm: kind of normalisation.
        gated: whether the feed-forward layer multiplies by a gate.
        rotary: whether positions are rotary; otherwise they are learned.
        keys: field of DecoderSpec → key in config.json.
        defaults: field of DecoderSpec → its value where config.json does not say.
        identities: like `IDENTITIES`, for keys that only this family reads.
    """

    norm: Literal["rms", "layer"]
    gated: bool
    rotary: bool
    keys: Mapping[str, str]
    defaults: Mapping[str, Any]
    identities: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


FAMILIES: dict[str, Family] = {
    "llama": Family(
        norm="rms",
        gated=True,
        rotary=True,
        keys={
            "vocab_size": "vocab_size",
            "hidden_size": "hidden_size",
            "num_layers": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "num_kv_heads": "num_key_value_heads",
            "head_dim": "head_dim",
            "intermediate_size": "intermediate_size",
            "context_length": "max_position_embeddings",
            "norm_eps": "rms_norm_eps",
            "activation": "hidden_act",
            "tied_head": "tie_word_embeddings",
            "attention_bias": "attention_bias",
            "mlp_bias": "mlp_bias",
        },
        defaults={
            "norm_eps": 1e-6,
            "activation": "silu",
            "tied_head": False,
            "attention_bias": False,
            "mlp_bias": False,
        },
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
        defaults={
            "norm_eps": 1e-5,
            "activation": "gelu_new",
            "tied_head": True,
            "attention_bias": True,
            "mlp_bias": True,
        },
        identities={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "reorder_and_upcast_attn": (False,),
        },
    ),
}

ACTIVATIONS: dict[str, Literal["silu", "gelu", "gelu_tanh", "relu"]] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}

# An absent key and null are the identity of every one of these; a list is one if all its entries are.
IDENTITIES: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "alibi": (False,),
    "attention_multiplier": (),
    "attention_sink": (False,),
    "attn_logit_softcapping": (),
    "clip_qkv": (),
    "embedding_multiplier": (1.0,),
    "final_logit_softcapping": (),
    "is_encoder_decoder": (False,),
    "layer_types": ("full_attention",),
    "logit_scale": (1.0,),
    "logits_scaling": (1.0,),
    "n_routed_experts": (0,),
    "no_rope_layers": (1,),
    "num_experts": (0,),
    "num_local_experts": (0,),
    "parallel_attn": (False,),
    "partial_rotary_factor": (1.0,),
    "pretraining_tp": (1,),
    "pruned_heads": ({},),
    "qk_layernorm": (False,),
    "qk_norm": (False,),
    "quantization_config": (),
    "query_pre_attn_scalar": (),
    "residual_multiplier": (1.0,),
    "rope_interleaved": (False,),
    "sliding_window": (),
    "use_parallel_residual": (False,),
    "use_qk_norm": (False,),
    "use_sliding_window": (False,),
}
