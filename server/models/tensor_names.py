"""Where each model family keeps its tensors in a checkpoint."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class TensorNames:
    """The modules of one family, without the base model's prefix and without `.weight` or `.bias`.

    Attributes:
        prefix: the base model's name and a dot; a checkpoint of the base model alone leaves it out.
        embedding: token embedding.
        layer: start of a layer's names; `{}` is its number.
        attention_norm: norm before the attention, within the layer like all below until `down`.
        qkv: query, key and value projections, or the one that holds all three.
        out: attention's output projection.
        mlp_norm: norm before the feed-forward layer.
        up: gate and up matrices, or the one that holds all there is.
        down: feed-forward layer's second matrix.
        final_norm: norm before the head.
        buffers: pattern of tensors that hold no weights, such as masks that old checkpoints carry.
        head: output matrix, by any of its names; never prefixed.
        positions: learned position embedding; None where positions are rotary.
        first_position: row of the position embedding that belongs to position 0.
        query_norm: norm of each query head, within the layer like the next three; None where there is none.
        key_norm: norm of each key head.
        post_attention_norm: norm of what the attention adds to the residual stream.
        post_mlp_norm: norm of what the feed-forward layer adds.
        norm_offset: what is missing from the stored scale of every norm.
        transposed: whether a layer's matrices are kept [in_features, out_features].
        head_by_head: whether the one matrix `qkv` holds the query, key and value of the first head, then of the next.
    """

    prefix: str
    embedding: str
    layer: str
    attention_norm: str
    qkv: tuple[str, ...]
    out: str
    mlp_norm: str
    up: tuple[str, ...]
    down: str
    final_norm: str
    buffers: str
    head: tuple[str, ...] = ("lm_head",)
    positions: str | None = None
    first_position: int = 0
    query_norm: str | None = None
    key_norm: str | None = None
    post_attention_norm: str | None = None
    post_mlp_norm: str | None = None
    norm_offset: float = 0.0
    transposed: bool = False
    head_by_head: bool = False


_LLAMA = TensorNames(
    prefix="model.",
    embedding="embed_tokens",
    layer="layers.{}.",
    attention_norm="input_layernorm",
    qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    out="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
    up=("mlp.gate_proj", "mlp.up_proj"),
    down="mlp.down_proj",
    final_norm="norm",
    buffers=r"(.*\.)?rotary_emb\.inv_freq",
)
_GEMMA = replace(_LLAMA, norm_offset=1.0)

TENSOR_NAMES: dict[str, TensorNames] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": replace(_LLAMA, query_norm="self_attn.q_norm", key_norm="self_attn.k_norm"),
    "smollm3": _LLAMA,
    "phi3": replace(_LLAMA, qkv=("self_attn.qkv_proj",), up=("mlp.gate_up_proj",)),
    "gemma": _GEMMA,
    "gemma2": replace(
        _GEMMA,
        post_attention_norm="post_attention_layernorm",
        mlp_norm="pre_feedforward_layernorm",
        post_mlp_norm="post_feedforward_layernorm",
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
        transposed=True,
        buffers=r"h\.\d+\.attn\.(masked_)?bias",
    ),
    "gpt_neox": TensorNames(
        prefix="gpt_neox.",
        embedding="embed_in",
        layer="layers.{}.",
        attention_norm="input_layernorm",
        qkv=("attention.query_key_value",),
        head_by_head=True,
        out="attention.dense",
        mlp_norm="post_attention_layernorm",
        up=("mlp.dense_h_to_4h",),
        down="mlp.dense_4h_to_h",
        final_norm="final_layer_norm",
        head=("embed_out", "lm_head"),
        buffers=r"layers\.\d+\.attention\.((masked_)?bias|rotary_emb\.inv_freq)",
    ),
    "opt": TensorNames(
        prefix="model.",
        embedding="decoder.embed_tokens",
        positions="decoder.embed_positions",
        first_position=2,
        layer="decoder.layers.{}.",
        attention_norm="self_attn_layer_norm",
        qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        out="self_attn.out_proj",
        mlp_norm="final_layer_norm",
        up=("fc1",),
        down="fc2",
        final_norm="decoder.final_layer_norm",
        buffers=r"(?!)",
    ),
}
