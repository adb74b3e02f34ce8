"""DecoderSpec: the shape of a causal decoder, read from a Hugging Face config; one spec drives every backend."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from server.errors import ModelError
from server.models.families import ACTIVATIONS, FAMILIES, IDENTITIES, Family

_DEFAULT_ROPE_THETA = 10000.0
_ROPE_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """What a backend must know to run a decoder.

    Attributes:
        family: the config's `model_type`.
        vocab_size: width of the logits.
        hidden_size: width of the residual stream.
        num_layers: number of blocks.
        num_heads: query heads.
        num_kv_heads: key and value heads; a divisor of `num_heads`.
        head_dim: width of one head.
        intermediate_size: width of the feed-forward layer.
        context_length: positions that the model was made for.
        norm: `rms` (scale) or `layer` (scale and bias, mean removed).
        norm_eps: added to the variance.
        activation: of the feed-forward layer.
        gated: whether the feed-forward layer multiplies by a gate; then `LayerWeights.up` holds gate and up.
        rope_theta: base of the rotary angles; None where positions are learned.
        tied_head: whether the output matrix is the embedding.
        eos_token_ids: ids that end a sequence.
        attention_bias: whether the attention's projections (query, key, value, output) have biases.
        mlp_bias: whether the feed-forward layer's matrices have biases.
    """

    family: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    context_length: int
    norm: Literal["rms", "layer"]
    norm_eps: float
    activation: Literal["silu", "gelu", "gelu_tanh", "relu"]
    gated: bool
    rope_theta: float | None
    tied_head: bool
    eos_token_ids: tuple[int, ...]
    attention_bias: bool = False
    mlp_bias: bool = False


def spec_from_config(config: dict[str, Any], generation_config: dict[str, Any] | None = None) -> DecoderSpec:
    """Read a spec from the contents of a Hugging Face `config.json`.

    Args:
        config: the file's contents, in the spelling of transformers 4 (`rope_theta`) or 5 (`rope_parameters`).
        generation_config: the contents of `generation_config.json`, whose `eos_token_id` wins; None: no such file.

    Returns:
        The spec; its numbers are consistent with one another.

    Raises:
        ModelError: the family, the activation or another trait is not supported, or a field is missing or out of range.
    """
    family = _family_of(config)
    _refuse_what_is_not_honoured(config, family)
    hidden_size = _count(config, family, "hidden_size")
    num_heads = _count(config, family, "num_heads")
    head_dim = _count(config, family, "head_dim", default=_share(hidden_size, num_heads))
    vocab_size = _count(config, family, "vocab_size")
    four_times = None if family.gated else 4 * hidden_size
    return DecoderSpec(
        family=config["model_type"],
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_layers=_count(config, family, "num_layers"),
        num_heads=num_heads,
        num_kv_heads=_kv_heads(config, family, num_heads),
        head_dim=head_dim,
        intermediate_size=_count(config, family, "intermediate_size", default=four_times),
        context_length=_count(config, family, "context_length"),
        norm=family.norm,
        norm_eps=_positive(_key(family, "norm_eps"), _value(config, family, "norm_eps")),
        activation=_activation(config, family),
        gated=family.gated,
        rope_theta=_rope_theta(config, head_dim) if family.rotary else None,
        tied_head=_flag(config, family, "tied_head"),
        eos_token_ids=_eos_token_ids(config, generation_config, vocab_size),
        attention_bias=_flag(config, family, "attention_bias"),
        mlp_bias=_flag(config, family, "mlp_bias"),
    )


def _family_of(config: dict[str, Any]) -> Family:
    for key in ("auto_map", "trust_remote_code"):
        if config.get(key):
            raise ModelError(
                f"config.json: {key} asks to run code from the model's folder, which Kelvin never does; "
                f"supported without it: {', '.join(sorted(FAMILIES))}"
            )
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(
            f"config.json: model_type {_short(model_type)} is not supported; supported: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def _refuse_what_is_not_honoured(config: dict[str, Any], family: Family) -> None:
    for key, identities in {**IDENTITIES, **family.identities}.items():
        if key in config and not _is_identity(config[key], identities):
            supported = " or ".join(repr(value) for value in identities) or "null"
            raise ModelError(f"config.json: {key} is {_short(config[key])}; supported: {supported}")


def _is_identity(value: Any, identities: tuple[Any, ...]) -> bool:
    if isinstance(value, list):
        return all(entry in identities for entry in value)
    return value is None or value in identities


def _key(family: Family, field: str) -> str:
    return family.keys.get(field, field)


def _value(config: dict[str, Any], family: Family, field: str) -> Any:
    value = config.get(family.keys[field]) if field in family.keys else None
    return family.defaults.get(field) if value is None else value


def _count(config: dict[str, Any], family: Family, field: str, default: int | None = None) -> int:
    value = _value(config, family, field)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"config.json: {_key(family, field)} must be a positive integer; it is {_short(value)}")
    return value


def _flag(config: dict[str, Any], family: Family, field: str) -> bool:
    value = _value(config, family, field)
    if not isinstance(value, bool):
        raise ModelError(f"config.json: {_key(family, field)} must be true or false; it is {_short(value)}")
    return value


def _positive(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise ModelError(f"config.json: {key} must be a positive number; it is {_short(value)}")
    return float(value)


def _share(hidden_size: int, num_heads: int) -> int | None:
    return None if hidden_size % num_heads else hidden_size // num_heads


def _kv_heads(config: dict[str, Any], family: Family, num_heads: int) -> int:
    num_kv_heads = _count(config, family, "num_kv_heads", default=num_heads)
    if num_heads % num_kv_heads:
        raise ModelError(f"config.json: {num_kv_heads} key-value heads do not divide {num_heads} query heads")
    return num_kv_heads


def _activation(config: dict[str, Any], family: Family) -> Literal["silu", "gelu", "gelu_tanh", "relu"]:
    name = _value(config, family, "activation")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ModelError(
            f"config.json: {_key(family, 'activation')} {_short(name)} is not supported; "
            f"supported: {', '.join(sorted(ACTIVATIONS))}"
        )
    return ACTIVATIONS[name]


def _rope_theta(config: dict[str, Any], head_dim: int) -> float:
    rope: dict[str, Any] = {}
    for key in ("rope_scaling", "rope_parameters"):
        if not isinstance(config.get(key) or {}, dict):
            raise ModelError(f"config.json: {key} must be an object or null; it is {_short(config[key])}")
        rope |= config.get(key) or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ModelError(f"config.json: rope type {_short(kind)} is not supported; supported: 'default'")
    if beyond := sorted(set(rope) - _ROPE_KEYS):
        raise ModelError(f"config.json: rope parameters {', '.join(beyond)} are not supported with rope type 'default'")
    if rope.get("partial_rotary_factor") not in (None, 1.0):
        raise ModelError("config.json: partial_rotary_factor is not supported; supported: 1.0")
    if head_dim % 2:
        raise ModelError(f"config.json: head_dim must be even for rotary positions; it is {head_dim}")
    theta = rope.get("rope_theta")
    theta = config.get("rope_theta") if theta is None else theta
    return _positive("rope_theta", _DEFAULT_ROPE_THETA if theta is None else theta)


def _eos_token_ids(
    config: dict[str, Any], generation_config: dict[str, Any] | None, vocab_size: int
) -> tuple[int, ...]:
    value = (generation_config or {}).get("eos_token_id")
    value = config.get("eos_token_id") if value is None else value
    if value is None:
        return ()
    token_ids = value if isinstance(value, list) else [value]
    for token_id in token_ids:
        if isinstance(token_id, bool) or not isinstance(token_id, int) or not 0 <= token_id < vocab_size:
            raise ModelError(f"eos_token_id must be a token id from 0 to {vocab_size - 1}; it is {_short(token_id)}")
    return tuple(dict.fromkeys(token_ids))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
