import json
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
import tokenizers
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from server.errors import ModelError
from server.models.gguf import convert_gguf
from server.models.load import load_spec, require_model
from server.models.tokenizer import Tokenizer
from server.models.weights import read_weights

TOKEN_IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


@pytest.fixture
def llama(make_llama: Any, bpe: tokenizers.Tokenizer) -> Any:
    return make_llama(vocab_size=bpe.get_vocab_size(), attention_bias=True, rms_norm_eps=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_a_float32_file_becomes_the_model_it_came_from(
    tmp_path: Path, make_llama: Any, write_gguf: Any, bpe: tokenizers.Tokenizer, tied: bool
):
    changes = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": tied, "num_key_value_heads": 1}
    original = make_llama(vocab_size=bpe.get_vocab_size(), rms_norm_eps=1e-5, **changes)
    folder = convert_gguf(write_gguf(tmp_path / "m.gguf", original), tmp_path / "m")
    converted = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        torch.testing.assert_close(converted(TOKEN_IDS).logits, original(TOKEN_IDS).logits, atol=0, rtol=0)
    assert load_spec(folder) == load_spec_of(original, tmp_path / "original")
    read_weights(folder, load_spec(folder))
    require_model(folder)


def load_spec_of(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    return load_spec(folder)


def test_transformers_reads_the_same_weights_from_the_file(tmp_path: Path, write_gguf: Any, make_llama: Any, bpe: Any):
    kinds = {"ffn_up.weight": "Q8_0", "attn_q.weight": "Q8_0", "token_embd.weight": "Q4_0"}
    model = make_llama(vocab_size=bpe.get_vocab_size())
    path = write_gguf(tmp_path / "m.gguf", model, kinds)
    tensors = load_file(convert_gguf(path, tmp_path / "m") / "model.safetensors")
    oracle = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    assert oracle.keys() == tensors.keys()
    for name, values in tensors.items():
        expected = oracle[name].to(torch.bfloat16) if values.dtype == ml_dtypes.bfloat16 else oracle[name]
        np.testing.assert_array_equal(values.astype(np.float32), expected.float().numpy(), err_msg=name)


def test_quantised_matrices_become_bfloat16_and_the_others_keep_their_type(tmp_path: Path, llama: Any, write_gguf: Any):
    kinds = {"ffn_up.weight": "Q8_0", "ffn_gate.weight": "F16", "ffn_down.weight": "BF16"}
    path = write_gguf(tmp_path / "m.gguf", llama, kinds)
    tensors = load_file(convert_gguf(path, tmp_path / "m") / "model.safetensors")
    mlp, state = "model.layers.1.mlp.", llama.state_dict()
    assert tensors[f"{mlp}up_proj.weight"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(
        tensors[f"{mlp}gate_proj.weight"], state[f"{mlp}gate_proj.weight"].numpy().astype(np.float16)
    )
    np.testing.assert_array_equal(
        tensors[f"{mlp}down_proj.weight"].astype(np.float32), state[f"{mlp}down_proj.weight"].bfloat16().float().numpy()
    )
    assert tensors["model.norm.weight"].dtype == np.float32
    # An 8-bit block keeps 7 bits of its largest value, and bfloat16 8 of each.
    up = state[f"{mlp}up_proj.weight"].numpy()
    np.testing.assert_allclose(tensors[f"{mlp}up_proj.weight"].astype(np.float32), up, atol=np.abs(up).max() / 100)


def test_the_config_is_written_clean(tmp_path: Path, llama: Any, write_gguf: Any):
    metadata = {"tokenizer.ggml.eot_token_id": 0, "llama.rope.scaling.type": "none"}
    folder = convert_gguf(write_gguf(tmp_path / "m.gguf", llama, metadata=metadata), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["eos_token_id"] == [2, 0]
    assert config["bos_token_id"] == 1
    assert (config["tie_word_embeddings"], config["attention_bias"], config["mlp_bias"]) == (False, True, False)
    assert config["dtype"] == "float32"
    assert load_spec(folder).eos_token_ids == (2, 0)


def test_the_tokenizer_is_the_one_of_the_file(tmp_path: Path, llama: Any, write_gguf: Any, bpe: tokenizers.Tokenizer):
    folder = convert_gguf(
        write_gguf(tmp_path / "m.gguf", llama, metadata={"tokenizer.ggml.pre": "gpt-2"}), tmp_path / "m"
    )
    tokenizer = Tokenizer.from_folder(folder)
    for text in ["The lazy dog 123", "  an indent", "<|im_start|>日本語 😀<|im_end|>", ""]:
        assert tokenizer.encode(text, special_tokens=True) == bpe.encode(text).ids
    loaded = AutoTokenizer.from_pretrained(folder)
    assert (loaded.bos_token_id, loaded.eos_token_id) == (1, 2)
    assert loaded.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_smollm_takes_digits_one_by_one(tmp_path: Path, llama: Any, write_gguf: Any):
    tokenizer = Tokenizer.from_folder(convert_gguf(write_gguf(tmp_path / "m.gguf", llama), tmp_path / "m"))
    digits = [tokenizer.encode(digit)[0] for digit in "123"]
    assert tokenizer.encode("123") == digits
    # The space before a number belongs to the number elsewhere; here it stays with the spaces before it.
    assert tokenizer.encode("    123") == [*tokenizer.encode("    "), *digits]


@pytest.mark.parametrize("add", [{"tokenizer.ggml.add_bos_token": True}, {"tokenizer.ggml.pre": "llama-bpe"}])
def test_a_beginning_of_sequence_is_added_where_the_file_asks(
    tmp_path: Path, llama: Any, write_gguf: Any, add: dict[str, object]
):
    folder = convert_gguf(write_gguf(tmp_path / "m.gguf", llama, metadata=add), tmp_path / "m")
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.encode("dog")[0] == 1
    assert tokenizer.encode("dog", special_tokens=True)[0] != 1
    assert AutoTokenizer.from_pretrained(folder)("dog").input_ids == tokenizer.encode("dog")


def test_user_defined_tokens_stay_whole_and_are_not_special(tmp_path: Path, llama: Any, write_gguf: Any, bpe: Any):
    kinds = [3, 3, 3, *[1] * (bpe.get_vocab_size() - 3)]
    kinds[bpe.token_to_id("o")] = 4
    folder = convert_gguf(
        write_gguf(tmp_path / "m.gguf", llama, metadata={"tokenizer.ggml.token_type": kinds}), tmp_path / "m"
    )
    tokenizer = Tokenizer.from_folder(folder)
    whole = bpe.token_to_id("o")
    assert tokenizer.encode("fox").count(whole) == 1
    assert tokenizer.decode([whole], skip_special_tokens=True) == "o"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"llama.rope.scaling.type": "linear"}, r"llama\.rope\.scaling\.type 'linear' is not supported"),
        ({"llama.rope.scaling.factor": 2.0}, r"llama\.rope\.scaling\.factor would change the model"),
        ({"llama.expert_count": 8}, r"llama\.expert_count would change the model"),
        ({"llama.attention.sliding_window": 64}, r"llama\.attention\.sliding_window"),
        ({"llama.attention.head_count": [4, 4]}, r"llama\.attention\.head_count must be one positive integer"),
        ({"llama.block_count": None}, r"llama\.block_count must be one positive integer; it is None"),
        ({"llama.rope.dimension_count": 4}, r"llama\.rope\.dimension_count is 4; supported: the width of a head, 8"),
        ({"llama.attention.value_length": 4}, r"value_length is 4"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, r"layer_norm_rms_epsilon must be a positive number"),
        ({"llama.attention.head_count_kv": 4}, r"attn_k\.\w+ has 16 rows, not 4 x 8"),
        ({"split.count": 3}, r"one of 3 pieces"),
        ({"tokenizer.ggml.model": "llama"}, r"kind 'llama'.*tokenizer\.json instead"),
        ({"tokenizer.ggml.pre": "tekken"}, r"the split 'tekken' is not supported"),
        ({"tokenizer.ggml.pre": None}, r"the split None is not supported"),
        ({"tokenizer.ggml.merges": ["a nowhere"]}, r"vocabulary and its merges do not fit together"),
        ({"tokenizer.ggml.token_type": [1]}, r"give each a token_type"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, r"do not fit|name each token once"),
        ({"tokenizer.ggml.bos_token_id": 10**6}, r"bos_token_id is 1000000, beyond the vocabulary"),
        ({"tokenizer.ggml.add_eos_token": True, "tokenizer.ggml.eos_token_id": None}, r"that tokenizer\.ggml does not"),
    ],
)
def test_what_cannot_be_said_in_a_config_is_refused_and_nothing_stays(
    tmp_path: Path, llama: Any, write_gguf: Any, metadata: dict[str, object], message: str
):
    path = write_gguf(tmp_path / "m.gguf", llama, metadata=metadata)
    with pytest.raises(ModelError, match=message) as caught:
        convert_gguf(path, tmp_path / "models" / "m")
    assert str(path) in caught.value.message
    assert list((tmp_path / "models").iterdir()) == []


def test_another_architecture_is_refused_by_name(tmp_path: Path, llama: Any, write_gguf: Any):
    path = write_gguf(tmp_path / "m.gguf", llama, architecture="mamba")
    with pytest.raises(ModelError, match="architecture 'mamba' is not supported in GGUF; supported: 'llama'"):
        convert_gguf(path, tmp_path / "m")


@pytest.mark.parametrize("name", ["rope_freqs.weight", "blk.0.attn_q_norm.weight", "blk.0.ffn_gate_inp.weight"])
def test_an_unknown_tensor_is_refused_by_name(tmp_path: Path, llama: Any, write_gguf: Any, name: str):
    path = write_gguf(tmp_path / "m.gguf", llama, tensors={name: np.ones(8, np.float32)})
    with pytest.raises(ModelError, match=f"tensor {name} is not supported"):
        convert_gguf(path, tmp_path / "m")


@pytest.mark.parametrize("keep", [0, 3, 20, 2000, -100])
def test_a_truncated_file_is_refused_and_nothing_stays(tmp_path: Path, llama: Any, write_gguf: Any, keep: int):
    path = write_gguf(tmp_path / "m.gguf", llama)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="is not a whole GGUF file"):
        convert_gguf(path, tmp_path / "models" / "m")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_conversion_that_is_there_already_stays(tmp_path: Path, llama: Any, write_gguf: Any):
    path = write_gguf(tmp_path / "m.gguf", llama)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine").write_text("kept")
    assert convert_gguf(path, tmp_path / "m") == tmp_path / "m"
    assert [file.name for file in (tmp_path / "m").iterdir()] == ["mine"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m", "m.gguf"]


def test_progress_goes_from_the_first_tensor_to_one(tmp_path: Path, llama: Any, write_gguf: Any):
    told: list[float] = []
    path = write_gguf(tmp_path / "m.gguf", llama)
    convert_gguf(path, tmp_path / "m", lambda what, fraction: told.append(fraction))
    assert told == sorted(told)
    assert (len(told), told[-1]) == (len(gguf.GGUFReader(path).tensors), 1.0)
