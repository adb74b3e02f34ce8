import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, LlamaConfig

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


def saved(config: LlamaConfig | GPT2Config, folder: Path) -> dict[str, Any]:
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
