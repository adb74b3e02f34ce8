import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, GPT2Config, LlamaConfig, PreTrainedConfig

from server.errors import ModelError
from server.models.load import load_spec
from server.models.rope import Rope
from server.models.spec import spec_from_config

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 512,
}
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 100,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 6,
    "n_positions": 512,
}


SIZES: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "max_position_embeddings": 512,
}
OPT = {**SIZES, "model_type": "opt", "ffn_dim": 96}
LLAMA3_ROPE: dict[str, Any] = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3"}
LLAMA3_ROPE |= {"original_max_position_embeddings": 8192}
# Configs in the spelling of transformers 4, with the traits of the models that they are named for, in small sizes.
OLDER: dict[str, dict[str, Any]] = {
    "Llama 3.2 1B": SIZES
    | {"model_type": "llama", "attention_bias": False, "head_dim": 64, "hidden_act": "silu", "mlp_bias": False}
    | {"num_key_value_heads": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_theta": 500000.0}
    | {"rope_scaling": LLAMA3_ROPE, "tie_word_embeddings": True, "max_position_embeddings": 131072},
    "Mistral 7B v0.1": SIZES
    | {"model_type": "mistral", "hidden_act": "silu", "num_key_value_heads": 2, "rms_norm_eps": 1e-05}
    | {"rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": False},
    "Mistral 7B v0.3": SIZES
    | {"model_type": "mistral", "hidden_act": "silu", "num_key_value_heads": 2, "rms_norm_eps": 1e-05}
    | {"rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False},
    "Qwen2.5 0.5B": SIZES
    | {"model_type": "qwen2", "hidden_act": "silu", "max_window_layers": 3, "num_key_value_heads": 2}
    | {"rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": True}
    | {"use_mrope": False, "use_sliding_window": False},
    "Qwen2 with its windows on": SIZES
    | {"model_type": "qwen2", "max_window_layers": 2, "num_key_value_heads": 2, "sliding_window": 64}
    | {"use_sliding_window": True},
    "Qwen3 0.6B": SIZES
    | {"model_type": "qwen3", "attention_bias": False, "head_dim": 128, "hidden_act": "silu", "max_window_layers": 28}
    | {"num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000}
    | {"sliding_window": None, "tie_word_embeddings": True, "use_sliding_window": False},
    "SmolLM3 3B": SIZES
    | {"model_type": "smollm3", "attention_bias": False, "hidden_act": "silu", "layer_types": ["full_attention"] * 6}
    | {"mlp_bias": False, "no_rope_layer_interval": 4, "no_rope_layers": [1, 1, 1, 0, 1, 1], "num_key_value_heads": 2}
    | {"pretraining_tp": 2, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 5000000.0}
    | {"sliding_window": None, "use_sliding_window": False, "max_window_layers": 28},
    "Phi-3 mini 4k": SIZES
    | {"model_type": "phi3", "attention_bias": False, "hidden_act": "silu", "num_key_value_heads": 6}
    | {"original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0}
    | {"sliding_window": 2047, "tie_word_embeddings": False},
    "Phi-4 mini, its long positions off": SIZES
    | {"model_type": "phi3", "num_key_value_heads": 2, "partial_rotary_factor": 0.75, "rope_theta": 10000.0}
    | {"sliding_window": 262144, "tie_word_embeddings": True, "hidden_size": 96},
    "Gemma 2B": SIZES
    | {"model_type": "gemma", "attention_bias": False, "head_dim": 256, "hidden_act": "gelu", "hidden_activation": None}
    | {"num_key_value_heads": 1, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 10000.0},
    "Gemma 2 2B": SIZES
    | {
        "model_type": "gemma2",
        "attention_bias": False,
        "attn_logit_softcapping": 50.0,
        "cache_implementation": "hybrid",
    }
    | {"final_logit_softcapping": 30.0, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "num_key_value_heads": 2}
    | {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 224, "rms_norm_eps": 1e-06}
    | {"rope_theta": 10000.0, "sliding_window": 4096},
    "Pythia 70M": SIZES
    | {"model_type": "gpt_neox", "hidden_act": "gelu", "layer_norm_eps": 1e-05, "rotary_emb_base": 10000}
    | {"rotary_pct": 0.25, "tie_word_embeddings": False, "use_parallel_residual": True, "hidden_size": 96},
    "GPT-NeoX 20B": SIZES
    | {"model_type": "gpt_neox", "hidden_act": "gelu_fast", "layer_norm_eps": 1e-05, "rotary_emb_base": 10000}
    | {"rotary_pct": 0.25, "tie_word_embeddings": False, "hidden_size": 96},
    "OPT 125M": OPT
    | {"activation_function": "relu", "do_layer_norm_before": True, "word_embed_proj_dim": 48}
    | {"_remove_final_layer_norm": False},
}


def saved(config: PreTrainedConfig, folder: Path) -> dict[str, Any]:
    config.save_pretrained(folder)
    return json.loads((folder / "config.json").read_text())


def test_a_llama_that_says_only_what_it_must_gets_the_defaults_of_its_family():
    spec = spec_from_config(LLAMA)
    defaults = LlamaConfig()
    assert (spec.num_kv_heads, spec.head_dim, spec.rope.theta) == (6, 8, 10000.0)
    assert (spec.norm, spec.norm_eps) == ("rms", defaults.rms_norm_eps)
    assert (spec.activation, spec.gated, spec.tied_head) == (defaults.hidden_act, True, defaults.tie_word_embeddings)
    assert (spec.qkv_bias, spec.out_bias, spec.mlp_bias) == (False, False, False)
    assert spec.eos_token_ids == ()


def test_everything_a_llama_can_say_is_read(tmp_path: Path):
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=16,
        hidden_act="gelu_pytorch_tanh",
        max_position_embeddings=77,
        rms_norm_eps=1e-4,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
        tie_word_embeddings=True,
        attention_bias=True,
        mlp_bias=True,
        eos_token_id=[7, 9],
    )
    spec = spec_from_config(saved(config, tmp_path))
    assert (spec.vocab_size, spec.hidden_size, spec.intermediate_size, spec.num_layers) == (100, 48, 80, 3)
    assert (spec.num_heads, spec.num_kv_heads, spec.head_dim, spec.context_length) == (6, 2, 16, 77)
    assert (spec.activation, spec.norm_eps, spec.rope.theta) == ("gelu_tanh", 1e-4, 5e5)
    assert (spec.tied_head, spec.qkv_bias, spec.out_bias, spec.mlp_bias) == (True, True, True, True)
    assert spec.eos_token_ids == (7, 9)


def test_everything_a_gpt2_can_say_is_read(tmp_path: Path):
    config = GPT2Config(
        vocab_size=100, n_embd=48, n_layer=3, n_head=6, n_positions=77, layer_norm_epsilon=1e-4, eos_token_id=5
    )
    spec = spec_from_config(saved(config, tmp_path))
    assert (spec.family, spec.norm, spec.norm_eps, spec.gated) == ("gpt2", "layer", 1e-4, False)
    assert (spec.head_dim, spec.num_kv_heads, spec.intermediate_size, spec.context_length) == (8, 6, 192, 77)
    assert (spec.activation, spec.rope, spec.tied_head) == ("gelu_tanh", None, True)
    assert (spec.qkv_bias, spec.out_bias, spec.mlp_bias, spec.eos_token_ids) == (True, True, True, (5,))


@pytest.mark.parametrize("name", OLDER)
def test_an_older_spelling_is_read_as_transformers_reads_it(tmp_path: Path, name: str):
    """Transformers fills in what a config leaves out, and writes positions in its newer spelling."""
    fields = OLDER[name] | {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    config = AutoConfig.for_model(**deepcopy(fields))  # transformers writes into what it is given
    assert spec_from_config(fields) == spec_from_config(saved(config, tmp_path))


@pytest.mark.parametrize(
    "family", ["mistral", "qwen2", "qwen3", "smollm3", "phi3", "gemma", "gemma2", "gpt_neox", "opt"]
)
def test_what_a_config_leaves_out_is_what_transformers_takes(tmp_path: Path, family: str):
    sizes = SIZES | {"ffn_dim": 80, "hidden_size": 256, "num_attention_heads": 32, "eos_token_id": 2}
    fields = sizes | {"bos_token_id": 1, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **fields)
    assert spec_from_config({**fields, "model_type": family}) == spec_from_config(saved(config, tmp_path))


def test_windows_and_rotary_layers_are_told_layer_by_layer():
    windows = {name: spec_from_config(config).windows for name, config in OLDER.items()}
    assert windows["Mistral 7B v0.1"] == (4096,) * 6
    assert windows["Mistral 7B v0.3"] == windows["Qwen2.5 0.5B"] == windows["Qwen3 0.6B"] == (0,) * 6
    assert windows["Qwen2 with its windows on"] == (0, 0, 64, 64, 64, 64)
    assert windows["Phi-3 mini 4k"] == (2047,) * 6
    assert windows["Gemma 2 2B"] == (4096, 0, 4096, 0, 4096, 0)
    smollm3 = OLDER["SmolLM3 3B"]
    assert spec_from_config(smollm3).rotates == (True, True, True, False, True, True)
    sliding = {"layer_types": None, "use_sliding_window": True, "sliding_window": 7}
    assert spec_from_config(smollm3 | sliding).windows == (0, 0, 0, 7, 0, 0)
    assert (
        spec_from_config(smollm3 | {"no_rope_layers": None, "no_rope_layer_interval": 2}).rotates == (True, False) * 3
    )
    assert spec_from_config(OLDER["OPT 125M"]).rotates == (False,) * 6


def test_what_gemma_does_otherwise_is_in_its_spec():
    spec = spec_from_config(OLDER["Gemma 2 2B"])
    assert (spec.embedding_scale, spec.attention_scale) == (48**0.5, 224**-0.5)
    assert (spec.attention_softcap, spec.logit_softcap) == (50.0, 30.0)
    uncapped = {**OLDER["Gemma 2 2B"], "attn_logit_softcapping": None, "final_logit_softcapping": None}
    assert (spec_from_config(uncapped).attention_softcap, spec_from_config(uncapped).logit_softcap) == (0.0, 0.0)
    first = spec_from_config(OLDER["Gemma 2B"])
    assert (first.activation, first.embedding_scale, first.attention_scale) == ("gelu_tanh", 48**0.5, 1 / 16)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("Mistral 7B v0.1", {"layer_types": ["sliding_attention"] * 6}, "layer_types is .*; supported: null"),
        ("Mistral 7B v0.1", {"sliding_window": -1}, "sliding_window must be a positive integer; it is -1"),
        ("Mistral 7B v0.1", {"query_pre_attn_scalar": 128}, "query_pre_attn_scalar is 128; supported: null"),
        ("Qwen2.5 0.5B", {"layer_types": ["sliding_attention"] * 6}, "there is no sliding_window, or it is not used"),
        ("Qwen2.5 0.5B", {"layer_types": ["full_attention"]}, "layer_types must be a list of 6 kinds"),
        (
            "Qwen2.5 0.5B",
            {"layer_types": ["chunked_attention"] * 6},
            "supported: 'full_attention', 'sliding_attention'",
        ),
        ("Qwen2.5 0.5B", {"max_window_layers": -1}, "max_window_layers must be an integer of at least 0; it is -1"),
        ("Qwen2.5 0.5B", {"use_sliding_window": "no"}, "use_sliding_window must be true or false"),
        ("Qwen2.5 0.5B", {"use_mrope": True}, "use_mrope is True; supported: False"),
        (
            "Qwen2.5 0.5B",
            {"rope_scaling": {"type": "mrope", "mrope_section": [4]}},
            "rope type 'mrope' is not supported",
        ),
        ("Qwen3 0.6B", {"no_rope_layers": [1, 0]}, "no_rope_layers is"),
        ("SmolLM3 3B", {"no_rope_layers": [1, 0]}, "no_rope_layers must be a list of 6 zeros and ones"),
        ("SmolLM3 3B", {"no_rope_layers": [1, 0, 2, 0, 0, 0]}, "no_rope_layers must be a list of 6 zeros and ones"),
        ("Phi-3 mini 4k", {"rope_scaling": {"type": "su", "long_factor": [1.0]}}, "rope type 'su' is not supported"),
        ("Phi-3 mini 4k", {"partial_rotary_factor": 1.5}, "partial_rotary_factor must leave 1 to 8 elements"),
        ("Phi-3 mini 4k", {"partial_rotary_factor": 0.01}, "partial_rotary_factor must leave 1 to 8 elements"),
        ("Gemma 2B", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True; supported: False"),
        ("Gemma 2B", {"sliding_window": 64}, "sliding_window is 64; supported: null"),
        ("Gemma 2 2B", {"attn_logit_softcapping": 0}, "attn_logit_softcapping must be a positive number; it is 0"),
        ("Gemma 2 2B", {"query_pre_attn_scalar": "x"}, "query_pre_attn_scalar must be a positive number; it is 'x'"),
        ("Pythia 70M", {"rope_theta": 500.0}, "rope_theta is given as .*rotary_emb_base.*10000"),
        ("Pythia 70M", {"use_parallel_residual": 1}, "use_parallel_residual must be true or false; it is 1"),
        ("OPT 125M", {"word_embed_proj_dim": 32}, "word_embed_proj_dim is 32; supported: hidden_size, 48"),
        ("OPT 125M", {"do_layer_norm_before": False}, "do_layer_norm_before is False; supported: True"),
        (
            "OPT 125M",
            {"layer_norm_elementwise_affine": False},
            "layer_norm_elementwise_affine is False; supported: True",
        ),
        ("OPT 125M", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm is True; supported: False"),
    ],
)
def test_a_trait_that_a_family_does_not_have_is_refused_by_name(name: str, change: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        spec_from_config({**OLDER[name], **change})


def test_a_gpt2_may_have_its_own_inner_width():
    assert spec_from_config({**GPT2, "n_inner": 100}).intermediate_size == 100


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 5e5},
        {"rope_theta": 5e5, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 500000, "partial_rotary_factor": 1.0}},
    ],
)
def test_both_spellings_of_rope_are_read(rope: dict[str, Any]):
    assert spec_from_config({**LLAMA, **rope}).rope == Rope(theta=500000.0, width=8)


@pytest.mark.parametrize("spelling", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_both_spellings_of_a_scaled_rope_are_read(spelling: str, key: str):
    llama3 = {("type" if name == "rope_type" else name): value for name, value in LLAMA3_ROPE.items()}
    for scaling, expected in (
        ({key: "linear", "factor": 3}, Rope(1e4, 8, "linear", 3.0)),
        ({**llama3, key: "llama3"}, Rope(1e4, 8, "llama3", 32.0, 1.0, 4.0, 8192.0)),
    ):
        assert spec_from_config({**LLAMA, spelling: scaling}).rope == expected


@pytest.mark.parametrize("kind", ["dynamic", "yarn", "longrope", "proportional"])
@pytest.mark.parametrize("spelling", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_a_kind_of_rope_that_is_not_supported_is_refused_by_name(kind: str, spelling: str, key: str):
    with pytest.raises(
        ModelError, match=rf"rope type '{kind}' is not supported; supported: 'default', 'linear', 'llama3'"
    ):
        spec_from_config({**LLAMA, spelling: {key: kind, "factor": 2.0}})


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_scaling": {"type": "linear"}}, "factor must be a positive number; it is None"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 32}},
            "beta_fast are not supported .* 'linear'",
        ),
        ({"rope_scaling": {k: v for k, v in LLAMA3_ROPE.items() if k != "factor"}}, "factor must be a positive number"),
        (
            {"rope_scaling": LLAMA3_ROPE | {"low_freq_factor": 4.0}},
            "low_freq_factor must be less than high_freq_factor",
        ),
        ({"rope_scaling": LLAMA3_ROPE, "rope_parameters": {"rope_type": "default"}}, "rope_scaling and .* differ"),
        ({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}}, "rope_theta is given as"),
        ({"rope_parameters": {"rope_theta": 1e4, "factor": 2.0}}, "factor"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "full_attention"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": [1]}, "rope_parameters must be an object"),
        ({"rope_theta": 0}, "rope_theta must be a positive number"),
        ({"rope_theta": float("nan")}, "rope_theta must be a positive number"),
        ({"head_dim": 7}, "head_dim must be even"),
    ],
)
def test_a_rope_that_makes_no_sense_is_refused(rope: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        spec_from_config({**LLAMA, **rope})


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"pretraining_tp": 2}, "pretraining_tp"),
        ({"sliding_window": 128}, "sliding_window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"no_rope_layers": [1, 0]}, "no_rope_layers"),
        ({"use_qk_norm": True}, "use_qk_norm"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_interleaved": True}, "rope_interleaved"),
        ({"logits_scaling": 8.0}, "logits_scaling"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.py"}}, "auto_map"),
        ({"trust_remote_code": True}, "trust_remote_code"),
    ],
)
def test_a_trait_that_is_not_honoured_is_refused_by_name(change: dict[str, Any], key: str):
    for base in (LLAMA, GPT2):
        with pytest.raises(ModelError, match=key):
            spec_from_config({**base, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True},
        {"add_cross_attention": True},
    ],
)
def test_a_gpt2_that_attends_otherwise_is_refused(change: dict[str, Any]):
    with pytest.raises(ModelError, match=next(iter(change))):
        spec_from_config({**GPT2, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"pretraining_tp": 1, "sliding_window": None, "layer_types": ["full_attention"] * 3, "no_rope_layers": [1, 1]},
        {"quantization_config": None, "pruned_heads": {}, "rope_interleaved": False, "logits_scaling": 1},
        {"trust_remote_code": False, "use_cache": True, "torch_dtype": "bfloat16", "_name_or_path": "anything"},
    ],
)
def test_a_trait_that_changes_nothing_is_accepted(change: dict[str, Any]):
    assert spec_from_config({**LLAMA, **change}) == spec_from_config(LLAMA)


@pytest.mark.parametrize("model_type", ["mamba", "llama4", "", None, 3, ["llama"]])
def test_an_unknown_family_is_refused_with_the_supported_ones(model_type: object):
    with pytest.raises(
        ModelError, match="supported: gemma, gemma2, gpt2, gpt_neox, llama, mistral, opt, phi3, qwen2, qwen3, smollm3"
    ):
        spec_from_config({**LLAMA, "model_type": model_type})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "hidden_size must be a positive integer; it is None"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a positive integer; it is 0"),
        ({"vocab_size": "100"}, "vocab_size must be a positive integer; it is '100'"),
        ({"num_attention_heads": True}, "num_attention_heads must be a positive integer; it is True"),
        ({"num_attention_heads": 5}, "head_dim must be a positive integer; it is None"),
        ({"num_key_value_heads": 4}, "4 key-value heads do not divide 6 query heads"),
        ({"hidden_act": "quick_gelu"}, "hidden_act 'quick_gelu' is not supported; supported: gelu"),
        ({"rms_norm_eps": -1}, "rms_norm_eps must be a positive number"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
        ({"eos_token_id": 100}, "eos_token_id must be a token id from 0 to 99; it is 100"),
        ({"eos_token_id": [1, "2"]}, "eos_token_id"),
    ],
)
def test_a_field_out_of_range_is_named(change: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        spec_from_config({**LLAMA, **change})


@pytest.mark.parametrize(
    ("in_config", "in_generation_config", "expected"),
    [
        (2, None, (2,)),
        ([2, 3, 2], None, (2, 3)),
        (2, {}, (2,)),
        (2, {"eos_token_id": [5, 6]}, (5, 6)),
        (2, {"eos_token_id": 0}, (0,)),
        (None, {"eos_token_id": None}, ()),
    ],
)
def test_the_generation_config_says_what_ends_a_sequence(
    in_config: object, in_generation_config: dict[str, Any] | None, expected: tuple[int, ...]
):
    assert spec_from_config({**LLAMA, "eos_token_id": in_config}, in_generation_config).eos_token_ids == expected


def test_load_spec_reads_both_files_of_a_folder(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "eos_token_id": 2}))
    assert load_spec(tmp_path).eos_token_ids == (2,)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 4]}))
    assert load_spec(tmp_path).eos_token_ids == (3, 4)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, r"config\.json is missing"),
        (lambda path: path.write_text("{"), r"config\.json is not valid JSON"),
        (lambda path: path.write_text("[" * 100_000), r"config\.json is not valid JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe"), r"config\.json is not valid JSON"),
        (lambda path: path.write_text("[]"), r"config\.json must hold a JSON object, not a list"),
        (lambda path: path.write_text('{"model_type": "mamba"}'), r"model_type 'mamba' is not supported"),
    ],
)
def test_load_spec_names_the_folder_and_the_problem(tmp_path: Path, write: Callable[[Path], object], message: str):
    write(tmp_path / "config.json")
    with pytest.raises(ModelError, match=message) as caught:
        load_spec(tmp_path)
    assert str(tmp_path) in caught.value.message
