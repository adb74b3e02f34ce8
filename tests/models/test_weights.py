import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from server.errors import ModelError
from server.models.checkpoint import weight_files
from server.models.load import load_spec
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights, read_weights
from tests.backends.checkpoints import write_checkpoint
from tests.models.reference_decoder import logits

TOKEN_IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 89, 79]


def read(folder: Path) -> tuple[DecoderSpec, DecoderWeights]:
    spec = load_spec(folder)
    return spec, read_weights(folder, spec)


def change_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1, "head_dim": 16},
        {"attention_bias": True, "mlp_bias": True},
        {"tie_word_embeddings": True},
        {"hidden_act": "gelu"},
        {"hidden_act": "relu"},
        {"rms_norm_eps": 0.5, "rope_parameters": {"rope_type": "default", "rope_theta": 40.0}},
    ],
)
def test_a_llama_computes_what_transformers_computes(tmp_path: Path, make_llama: Any, changes: dict[str, Any]):
    model = make_llama(**changes)
    model.save_pretrained(tmp_path)
    assert_same_logits(model, *read(tmp_path))


@pytest.mark.parametrize("changes", [{}, {"n_inner": 40}, {"activation_function": "relu"}])
def test_a_gpt2_computes_what_transformers_computes(tmp_path: Path, make_gpt2: Any, changes: dict[str, Any]):
    model = make_gpt2(**changes)
    model.save_pretrained(tmp_path)
    assert_same_logits(model, *read(tmp_path))


def assert_same_logits(model: Any, spec: DecoderSpec, weights: DecoderWeights) -> None:
    with torch.no_grad():
        expected = model(torch.tensor([TOKEN_IDS])).logits[0].numpy()
    np.testing.assert_allclose(logits(spec, weights, TOKEN_IDS), expected, atol=2e-4, rtol=2e-4)


def test_matrices_are_stacked_query_key_value_and_gate_up(llama_folder: Path):
    tensors = load_file(llama_folder / "model.safetensors")
    _, weights = read(llama_folder)
    attention, mlp = "model.layers.1.self_attn.", "model.layers.1.mlp."
    qkv = np.concatenate([tensors[f"{attention}{part}_proj.weight"] for part in "qkv"])
    up = np.concatenate([tensors[f"{mlp}gate_proj.weight"], tensors[f"{mlp}up_proj.weight"]])
    np.testing.assert_array_equal(weights.layers[1].qkv, qkv)
    np.testing.assert_array_equal(weights.layers[1].up, up)
    assert weights.layers[1].qkv.flags.c_contiguous


def test_a_fused_matrix_is_taken_as_it_is(tmp_path: Path):
    write_checkpoint("phi3", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    _, weights = read(tmp_path)
    np.testing.assert_array_equal(weights.layers[1].qkv, tensors["model.layers.1.self_attn.qkv_proj.weight"])
    np.testing.assert_array_equal(weights.layers[1].up, tensors["model.layers.1.mlp.gate_up_proj.weight"])


def test_heads_that_lie_one_after_another_are_stacked_query_key_value(tmp_path: Path):
    write_checkpoint("gpt_neox", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    spec, weights = read(tmp_path)
    for end, found in (("weight", weights.layers[1].qkv), ("bias", weights.layers[1].qkv_bias)):
        stored = tensors[f"gpt_neox.layers.1.attention.query_key_value.{end}"]
        for part in range(3):
            for head in range(spec.num_heads):
                rows = slice((3 * head + part) * spec.head_dim, (3 * head + part + 1) * spec.head_dim)
                start = (part * spec.num_heads + head) * spec.head_dim
                np.testing.assert_array_equal(found[start : start + spec.head_dim], stored[rows])


@pytest.mark.parametrize("name", ["embed_out.weight", "lm_head.weight"])
def test_the_head_of_a_gpt_neox_has_two_names(tmp_path: Path, name: str):
    write_checkpoint("gpt_neox", tmp_path)
    _, expected = read(tmp_path)

    def rename(tensors: dict[str, np.ndarray]) -> None:
        stored = next(key for key in ("embed_out.weight", "lm_head.weight") if key in tensors)
        tensors[name] = tensors.pop(stored)

    change_tensors(tmp_path, rename)
    np.testing.assert_array_equal(read(tmp_path)[1].head, expected.head)
    change_tensors(tmp_path, lambda tensors: tensors.pop(name))
    with pytest.raises(ModelError, match=r"embed_out\.weight.* is missing"):
        read(tmp_path)


def test_buffers_of_an_old_gpt_neox_are_no_weights(tmp_path: Path):
    write_checkpoint("gpt_neox", tmp_path)
    buffers = ("attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq")
    extra = {f"gpt_neox.layers.0.{name}": np.ones(4, np.float32) for name in buffers}
    change_tensors(tmp_path, lambda tensors: tensors.update(extra))
    read(tmp_path)


def test_the_positions_of_an_opt_begin_at_its_third_row(tmp_path: Path):
    write_checkpoint("opt", tmp_path)
    stored = load_file(tmp_path / "model.safetensors")["model.decoder.embed_positions.weight"]
    spec, weights = read(tmp_path)
    assert len(stored) == spec.context_length + 2
    np.testing.assert_array_equal(weights.positions, stored[2:])


@pytest.mark.parametrize("kind", [np.float32, ml_dtypes.bfloat16])
def test_norms_stored_as_their_distance_from_one_are_exact(tmp_path: Path, kind: type):
    write_checkpoint("gemma2", tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.update({k: v.astype(kind) for k, v in tensors.items()}))
    tensors = load_file(tmp_path / "model.safetensors")
    _, weights = read(tmp_path)
    layer = weights.layers[1]
    for found, name in (
        (layer.attention_norm, "layers.1.input_layernorm"),
        (layer.post_attention_norm, "layers.1.post_attention_layernorm"),
        (layer.mlp_norm, "layers.1.pre_feedforward_layernorm"),
        (layer.post_mlp_norm, "layers.1.post_feedforward_layernorm"),
        (weights.final_norm, "norm"),
    ):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.float32(1) + tensors[f"model.{name}.weight"].astype(np.float32))


def test_a_family_has_only_the_norms_and_biases_that_are_its_own(tmp_path: Path):
    found = {}
    for case in ("llama", "qwen2", "qwen3", "gemma2", "gpt_neox", "opt without biases, untied, gelu"):
        write_checkpoint(case, tmp_path / case)
        layer = read(tmp_path / case)[1].layers[0]
        optional = ("qkv_bias", "out_bias", "up_bias", "down_bias", "query_norm", "key_norm", "attention_norm_bias")
        optional += ("mlp_norm_bias", "post_attention_norm", "post_mlp_norm")
        found[case] = {name for name in optional if getattr(layer, name) is not None}
    norm_biases = {"attention_norm_bias", "mlp_norm_bias"}
    assert found == {
        "llama": set(),
        "qwen2": {"qkv_bias"},
        "qwen3": {"query_norm", "key_norm"},
        "gemma2": {"post_attention_norm", "post_mlp_norm"},
        "gpt_neox": norm_biases | {"qkv_bias", "out_bias", "up_bias", "down_bias"},
        "opt without biases, untied, gelu": norm_biases,
    }


def test_an_opt_that_projects_its_embeddings_is_refused(tmp_path: Path):
    write_checkpoint("opt", tmp_path)
    extra = {"model.decoder.project_in.weight": np.ones((48, 32), np.float32)}
    change_tensors(tmp_path, lambda tensors: tensors.update(extra))
    with pytest.raises(ModelError, match=r"the first is decoder\.project_in\.weight"):
        read(tmp_path)


def test_a_tied_head_is_the_embedding_itself(tmp_path: Path, make_llama: Any):
    make_llama(tie_word_embeddings=True).save_pretrained(tmp_path)
    _, weights = read(tmp_path)
    assert weights.head is weights.embedding


def test_a_tied_head_may_be_in_the_file_if_it_is_the_same(tmp_path: Path, make_llama: Any):
    make_llama(tie_word_embeddings=True).save_pretrained(tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"]}))
    _, weights = read(tmp_path)
    assert weights.head is weights.embedding
    change_tensors(tmp_path, lambda tensors: tensors.update({"lm_head.weight": -tensors["model.embed_tokens.weight"]}))
    with pytest.raises(ModelError, match=r"lm_head\.weight differs from the embedding"):
        read(tmp_path)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_the_type_of_the_file_is_kept(llama_folder: Path, kind: type):
    change_tensors(llama_folder, lambda tensors: tensors.update({k: v.astype(kind) for k, v in tensors.items()}))
    _, weights = read(llama_folder)
    assert {weights.embedding.dtype, weights.layers[0].qkv.dtype, weights.final_norm.dtype} == {np.dtype(kind)}


def test_parts_of_different_types_are_stacked_without_loss(llama_folder: Path):
    name = "model.layers.0.self_attn.{}_proj.weight"
    narrow = {name.format("q"): np.float16, name.format("k"): ml_dtypes.bfloat16}
    change_tensors(llama_folder, lambda t: t.update({k: t[k].astype(kind) for k, kind in narrow.items()}))
    tensors = load_file(llama_folder / "model.safetensors")
    _, weights = read(llama_folder)
    assert weights.layers[0].qkv.dtype == np.float32
    parts = [tensors[name.format(part)].astype(np.float32) for part in "qkv"]
    np.testing.assert_array_equal(weights.layers[0].qkv, np.concatenate(parts))


def test_names_may_leave_out_the_base_models_prefix(llama_folder: Path):
    _, expected = read(llama_folder)
    tensors = load_file(llama_folder / "model.safetensors")
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    save_file(bare, llama_folder / "model.safetensors")
    _, weights = read(llama_folder)
    np.testing.assert_array_equal(weights.layers[1].down, expected.layers[1].down)


def test_a_gpt2_without_prefix_and_with_old_mask_buffers_is_read(tmp_path: Path, make_gpt2: Any):
    make_gpt2().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    bare["h.0.attn.bias"] = np.ones((1, 1, 64, 64), np.uint8)
    bare["h.0.attn.masked_bias"] = np.array(-1e4, np.float32)
    save_file(bare, tmp_path / "model.safetensors")
    _, weights = read(tmp_path)
    np.testing.assert_array_equal(weights.layers[0].qkv, tensors["transformer.h.0.attn.c_attn.weight"].T)


def test_shards_are_read_like_one_file(llama_folder: Path, make_llama: Any):
    _, expected = read(llama_folder)
    tokenizer = llama_folder / "tokenizer.json"
    sharded = llama_folder / "sharded"
    make_llama().save_pretrained(sharded, max_shard_size="20KB")
    shutil.copy(tokenizer, sharded)
    assert len(weight_files(sharded)) > 2
    _, weights = read(sharded)
    np.testing.assert_array_equal(weights.layers[1].up, expected.layers[1].up)
    np.testing.assert_array_equal(weights.head, expected.head)


def test_progress_is_told_layer_by_layer(llama_folder: Path):
    told: list[tuple[str, float]] = []
    read_weights(llama_folder, load_spec(llama_folder), lambda what, fraction: told.append((what, fraction)))
    assert told == [("reading weights", 0.5), ("reading weights", 1.0)]


def test_a_missing_tensor_is_named(llama_folder: Path):
    change_tensors(llama_folder, lambda tensors: tensors.pop("model.layers.1.mlp.down_proj.weight"))
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.down_proj\.weight .* missing") as caught:
        read(llama_folder)
    assert str(llama_folder) in caught.value.message


def test_biases_that_the_config_promises_must_be_there(llama_folder: Path):
    config = json.loads((llama_folder / "config.json").read_text())
    (llama_folder / "config.json").write_text(json.dumps({**config, "attention_bias": True}))
    with pytest.raises(ModelError, match=r"self_attn\.q_proj\.bias .* missing"):
        read(llama_folder)


def test_a_tensor_that_the_config_does_not_know_is_never_dropped(llama_folder: Path):
    extra = {"model.layers.0.self_attn.q_norm.weight": np.ones(8, np.float32)}
    change_tensors(llama_folder, lambda tensors: tensors.update(extra))
    with pytest.raises(ModelError, match=r"1 tensors .* the first is layers\.0\.self_attn\.q_norm\.weight"):
        read(llama_folder)


def test_a_wrong_shape_is_named_with_the_one_expected(llama_folder: Path):
    name = "model.layers.0.self_attn.k_proj.weight"
    change_tensors(llama_folder, lambda tensors: tensors.update({name: tensors[name][:-1].copy()}))
    with pytest.raises(ModelError, match=r"k_proj\.weight has shape \[15, 32\]; config\.json asks for \[16, 32\]"):
        read(llama_folder)


def test_a_type_that_is_not_supported_is_named(llama_folder: Path):
    name = "model.norm.weight"
    change_tensors(llama_folder, lambda tensors: tensors.update({name: tensors[name].astype(np.int8)}))
    with pytest.raises(ModelError, match=r"model\.norm\.weight is of type I8; supported: F32, F16, BF16"):
        read(llama_folder)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_found(llama_folder: Path, kind: type, value: float):
    name = "model.layers.1.mlp.up_proj.weight"

    def damage(tensors: dict[str, np.ndarray]) -> None:
        tensors[name] = tensors[name].astype(kind)
        tensors[name][-1, -1] = value

    change_tensors(llama_folder, damage)
    with pytest.raises(ModelError, match=r"up_proj\.weight holds values that are not finite"):
        read(llama_folder)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_the_largest_finite_values_are_finite(llama_folder: Path, kind: type):
    largest = ml_dtypes.finfo(kind).max

    def damage(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.norm.weight"] = np.array([largest, -largest] * 16, kind)

    change_tensors(llama_folder, damage)
    assert read(llama_folder)[1].final_norm[0] == largest


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_a_truncated_file_is_named(llama_folder: Path, keep: int):
    path = llama_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors is cut short or damaged"):
        read(llama_folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_refused_with_a_way_out(llama_folder: Path, name: str):
    (llama_folder / "model.safetensors").rename(llama_folder / name)
    with pytest.raises(ModelError, match=rf"pickled \({name}\).*save_pretrained"):
        read(llama_folder)


def test_a_folder_without_weights_is_refused(llama_folder: Path):
    (llama_folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no weights; supported: model\.safetensors"):
        read(llama_folder)


@pytest.mark.parametrize("entry", ["../secret.safetensors", "/etc/passwd", "sub/a.safetensors", "weights.bin", 3, ""])
def test_an_index_may_not_lead_out_of_the_folder(llama_folder: Path, entry: object):
    (llama_folder / "model.safetensors").rename(llama_folder.parent / "secret.safetensors")
    index = {"weight_map": {"model.norm.weight": entry}}
    (llama_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"file of model\.norm\.weight must be the name of a \.safetensors file"):
        read(llama_folder)


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": ["a"]}])
def test_an_index_without_a_map_is_refused(llama_folder: Path, index: dict[str, Any]):
    (llama_folder / "model.safetensors").unlink()
    (llama_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="weight_map must be an object"):
        read(llama_folder)


def test_a_missing_shard_is_named(tmp_path: Path, make_llama: Any):
    make_llama().save_pretrained(tmp_path, max_shard_size="20KB")
    first = weight_files(tmp_path)[0]
    first.unlink()
    with pytest.raises(ModelError, match=rf"{first.name} is missing"):
        read(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path, make_llama: Any):
    make_llama().save_pretrained(tmp_path, max_shard_size="20KB")
    first, second = weight_files(tmp_path)[:2]
    save_file({**load_file(first), **load_file(second)}, second)
    with pytest.raises(ModelError, match="is there twice"):
        read(tmp_path)
