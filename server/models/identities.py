"""What a config may ask that changes the computation: a value that is not honoured is refused, never dropped."""

from typing import Any

from server.errors import ModelError
from server.models.config_fields import short
from server.models.families import Family

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
    "use_bidirectional_attention": (False,),
    "use_mrope": (False,),
    "use_parallel_residual": (False,),
    "use_qk_norm": (False,),
    "use_sliding_window": (False,),
}


def refuse_what_is_not_honoured(config: dict[str, Any], family: Family) -> None:
    """Refuse a config that asks for a trait that its family does not have, or not here.

    Args:
        config: the contents of config.json.
        family: its own keys and identities come before the general ones.

    Raises:
        ModelError: a key has another value than its identities; the message has both.
    """
    for key, identities in {**IDENTITIES, **family.identities}.items():
        if key in config and not family.honours(key) and not _is_identity(config[key], identities):
            supported = " or ".join(repr(value) for value in identities) or "null"
            raise ModelError(f"config.json: {key} is {short(config[key])}; supported: {supported}")
    for key, other in family.equal.items():
        if config.get(key) is not None and config[key] != config.get(other):
            raise ModelError(f"config.json: {key} is {short(config[key])}; supported: {other}, {config.get(other)}")


def _is_identity(value: Any, identities: tuple[Any, ...]) -> bool:
    if isinstance(value, list):
        return all(entry in identities for entry in value)
    return value is None or value in identities
