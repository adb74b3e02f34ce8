"""Tiny checkpoints written by transformers, a small byte-level BPE, and the built-in model where it is on disk."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from server.models.load import require_model
from server.models.tokenizer import Tokenizer
from server.settings import Settings

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "日本語の文章です。今日は良い天気ですね。",
    "Emoji: 😀😁😂🤣 and flags 🇫🇷🇩🇪, families 👩‍👩‍👧‍👦.",
    "for i in range(100):\n    print(i, i * i)  # squares 123 4567",
]
LLAMA = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "eos_token_id": 2,
}
GPT2 = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "eos_token_id": 5}
GPT2 |= {"bos_token_id": 5}


@pytest.fixture(scope="session")
def bpe() -> tokenizers.Tokenizer:
    """Train a byte-level BPE with special tokens first, like SmolLM2's."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer(bpe: tokenizers.Tokenizer) -> Tokenizer:
    return Tokenizer(bpe.to_str())


@pytest.fixture(scope="session")
def make_llama() -> Callable[..., LlamaForCausalLM]:
    """Return a maker of random llamas whose every weight is far from its neutral value, norms and biases included."""

    def make(**changes: object) -> LlamaForCausalLM:
        return _randomised(LlamaForCausalLM(LlamaConfig(**{**LLAMA, **changes})))

    return make


@pytest.fixture(scope="session")
def make_gpt2() -> Callable[..., GPT2LMHeadModel]:
    def make(**changes: object) -> GPT2LMHeadModel:
        return _randomised(GPT2LMHeadModel(GPT2Config(**{**GPT2, **changes})))

    return make


def _randomised(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + 0.05)
    return model.eval()


@pytest.fixture(scope="session")
def _llama_folder(
    tmp_path_factory: pytest.TempPathFactory, make_llama: Callable[..., LlamaForCausalLM], bpe: tokenizers.Tokenizer
) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    make_llama().save_pretrained(folder)
    bpe.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def llama_folder(_llama_folder: Path, tmp_path: Path) -> Path:
    """Copy a whole model folder for one test to damage."""
    return Path(shutil.copytree(_llama_folder, tmp_path / "llama"))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Find the built-in model, or skip."""
    folder = Settings().models_dir / "smollm2"
    if not folder.is_dir():
        pytest.skip(f"the built-in model is not at {folder}; fetch it with `kelvin models pull smollm2`")
    return require_model(folder)


def _permuted(rows: np.ndarray, num_heads: int) -> np.ndarray:
    """Order query or key rows as llama.cpp's converter does."""
    halves = rows.reshape(num_heads, 2, rows.shape[0] // num_heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


@pytest.fixture(scope="session")
def write_gguf(bpe: tokenizers.Tokenizer) -> Callable[..., Path]:
    """Return a writer of GGUF files in the layout of llama.cpp's converter."""

    def write(
        path: Path,
        model: LlamaForCausalLM,
        kinds: dict[str, str] | None = None,
        metadata: dict[str, object] | None = None,
        tensors: dict[str, np.ndarray] | None = None,
        architecture: str = "llama",
    ) -> Path:
        """Write a model; `kinds` maps ends of tensor names to types, `metadata` adds, changes or (None) drops keys."""
        writer = gguf.GGUFWriter(path, architecture)
        for key, value in {**_metadata(model.config, bpe), **(metadata or {})}.items():
            _add(writer, key, value)
        for name, values in {**_tensors(model), **(tensors or {})}.items():
            kind = next((kind for end, kind in (kinds or {}).items() if name.endswith(end)), "F32")
            quantisation = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quantize(values, quantisation), raw_dtype=quantisation)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def _metadata(config: LlamaConfig, bpe: tokenizers.Tokenizer) -> dict[str, object]:
    model = json.loads(bpe.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return {
        "llama.block_count": config.num_hidden_layers,
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.rope.freq_base": config.rope_parameters["rope_theta"],
        "llama.rope.dimension_count": config.head_dim,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in SPECIAL else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}",
    }


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    adders = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    if value is not None:
        (writer.add_array if isinstance(value, list) else adders[type(value)])(key, value)


def _tensors(model: LlamaForCausalLM) -> dict[str, np.ndarray]:
    modules = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
    }
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    tensors = {}
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        for module, short in modules.items():
            if module in name:
                values = _permuted(values, heads[short]) if short in heads else values
                name = name.replace("model.layers", "blk").replace(module, short)
        tensors[name] = values
    return tensors
