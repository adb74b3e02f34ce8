"""DecoderSpec: the shape of a causal decoder, read from a Hugging Face config; one spec drives every backend."""

from dataclasses import dataclass
from typing import Any, Literal

from server.errors import ModelError
from server.models.config_fields import ConfigFields, short
from server.models.families import FAMILIES, Activation, Family
from server.models.identities import refuse_what_is_not_honoured
from server.models.layer_traits import read_rotates, read_windows
from server.models.rope import Rope, read_rope


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """What a backend must know to run a decoder; which norms and biases there are beside, `DecoderWeights` says.

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
        embedding_scale: multiplies the token embeddings; 1: they stay.
        rope: rotary positions; None where positions are learned.
        rotates: whether each layer turns its queries and keys; a layer that does not, knows no positions.
        windows: how many positions each layer sees, a token's own included; 0: all.
        attention_scale: multiplies the product of query and key.
        attention_softcap: scores become tanh(score / softcap) · softcap before the softmax; 0: they stay.
        logit_softcap: likewise for the logits.
        parallel_residual: whether attention and feed-forward layer both read a block's input; else the second reads
            the sum of input and attention.
        tied_head: whether the output matrix is the embedding.
        qkv_bias: whether the projections to query, key and value have biases.
        out_bias: whether the attention's output projection has one.
        mlp_bias: whether the feed-forward layer's matrices have biases.
        eos_token_ids: ids that end a sequence.
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
    activation: Activation
    gated: bool
    embedding_scale: float
    rope: Rope | None
    rotates: tuple[bool, ...]
    windows: tuple[int, ...]
    attention_scale: float
    attention_softcap: float
    logit_softcap: float
    parallel_residual: bool
    tied_head: bool
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    eos_token_ids: tuple[int, ...]


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
    refuse_what_is_not_honoured(config, family)
    fields = ConfigFields(config, family)
    hidden_size, vocab_size = fields.count("hidden_size"), fields.count("vocab_size")
    num_layers, num_heads = fields.count("num_layers"), fields.count("num_heads")
    head_dim = fields.count("head_dim", default=_share(hidden_size, num_heads))
    rotates = read_rotates(fields, num_layers)
    return DecoderSpec(
        family=config["model_type"],
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=_kv_heads(fields, num_heads),
        head_dim=head_dim,
        intermediate_size=fields.count("intermediate_size", default=None if family.gated else 4 * hidden_size),
        context_length=fields.count("context_length"),
        norm=family.norm,
        norm_eps=fields.number("norm_eps"),
        activation=_activation(fields),
        gated=family.gated,
        embedding_scale=hidden_size**0.5 if family.scaled_embedding else 1.0,
        rope=read_rope(fields, head_dim) if family.rotary else None,
        rotates=rotates,
        windows=read_windows(fields, rotates),
        attention_scale=fields.number("scaled_head_dim", default=head_dim) ** -0.5,
        attention_softcap=fields.softcap("attention_softcap"),
        logit_softcap=fields.softcap("logit_softcap"),
        parallel_residual=fields.flag("parallel_residual"),
        tied_head=fields.flag("tied_head"),
        qkv_bias=fields.flag("qkv_bias"),
        out_bias=fields.flag("out_bias"),
        mlp_bias=fields.flag("mlp_bias"),
        eos_token_ids=_eos_token_ids(config, generation_config, vocab_size),
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
            f"config.json: model_type {short(model_type)} is not supported; supported: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def _share(hidden_size: int, num_heads: int) -> int | None:
    return None if hidden_size % num_heads else hidden_size // num_heads


def _kv_heads(fields: ConfigFields, num_heads: int) -> int:
    given = fields.given("num_kv_heads")
    num_kv_heads = num_heads if given is None else fields.count("num_kv_heads")
    if num_heads % num_kv_heads:
        raise ModelError(f"config.json: {num_kv_heads} key-value heads do not divide {num_heads} query heads")
    return num_kv_heads


def _activation(fields: ConfigFields) -> Activation:
    name, activations = fields.value("activation"), fields.family.activations
    if not isinstance(name, str) or name not in activations:
        raise ModelError(
            f"config.json: {fields.key('activation')} {short(name)} is not supported; "
            f"supported: {', '.join(sorted(activations))}"
        )
    return activations[name]


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
            raise ModelError(f"eos_token_id must be a token id from 0 to {vocab_size - 1}; it is {short(token_id)}")
    return tuple(dict.fromkeys(token_ids))
