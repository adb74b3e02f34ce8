"""Where each model family keeps its tensors in a checkpoint."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorNames:
    """The modules of one family, without the base model's prefix and without `.weight` or `.bias`.

    Attributes:
        prefix: the base model's name and a dot; a checkpoint of the base model alone leaves it out.
        embedding: token embedding.
        positions: learned position embedding; None where positions are rotary.
        layer: start of a layer's names; `{}` is its number.
        attention_norm: norm before the attention, within the layer like all below until `down`.
        qkv: query, key and value projections, or the one that holds all three.
        out: attention's output projection.
        mlp_norm: norm before the feed-forward layer.
        up: gate and up matrices, or the one that holds all there is.
        down: feed-forward layer's second matrix.
        final_norm: norm before the head.
        head: output matrix; never prefixed.
        transposed: whether a layer's matrices are kept [in_features, out_features].
        buffers: pattern of tensors that hold no weights, such as masks that old checkpoints carry.
    """

    prefix: str
    embedding: str
    positions: str | None
    layer: str
    attention_norm: str
    qkv: tuple[str, ...]
    out: str
    mlp_norm: str
    up: tuple[str, ...]
    down: str
    final_norm: str
    head: str
    transposed: bool
    buffers: str


TENSOR_NAMES: dict[str, TensorNames] = {
    "llama": TensorNames(
        prefix="model.",
        embedding="embed_tokens",
        positions=None,
        layer="layers.{}.",
        attention_norm="input_layernorm",
        qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        out="self_attn.o_proj",
        mlp_norm="post_attention_layernorm",
        up=("mlp.gate_proj", "mlp.up_proj"),
        down="mlp.down_proj",
        final_norm="norm",
        head="lm_head",
        transposed=False,
        buffers=r"(.*\.)?rotary_emb\.inv_freq",
    ),
    "gpt2": TensorNames(
        prefix="transformer.",
        embedding="wte",
        positions="wpe",
        layer="h.{}.",
        attention_norm="ln_1",
        qkv=("attn.c_attn",),
        out="attn.c_proj",
        mlp_norm="ln_2",
        up=("mlp.c_fc",),
        down="mlp.c_proj",
        final_norm="ln_f",
        head="lm_head",
        transposed=True,
        buffers=r"h\.\d+\.attn\.(masked_)?bias",
    ),
}
