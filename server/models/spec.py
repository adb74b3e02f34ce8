"""DecoderSpec: the shape of a causal decoder, read from a Hugging Face config; one spec drives every backend."""

from dataclasses import dataclass
from typing import Any, Literal

from server.errors import ModelError


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


def spec_from_config(config: dict[str, Any]) -> DecoderSpec:
    """Read a spec from the contents of a Hugging Face `config.json`."""
    raise ModelError("not written yet")
