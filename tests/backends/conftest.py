"""Tiny random decoders that transformers writes, and the torch backend over them."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from server.backends import torch as torch_backend
from server.backends.base import PromptPiece
from server.backends.torch import TorchBackend
from server.models.load import load_spec, require_model
from server.models.weights import read_weights
from server.settings import Settings

VOCAB_SIZE = 211  # not a multiple of what a kernel takes at once
LLAMA = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 320,
    "eos_token_id": 2,
}
GPT2 = {"vocab_size": VOCAB_SIZE, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 320, "eos_token_id": 2}
TRAITS = {
    "llama": (LlamaForCausalLM, LlamaConfig, LLAMA),
    "llama with biases": (LlamaForCausalLM, LlamaConfig, LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama untied": (LlamaForCausalLM, LlamaConfig, LLAMA | {"tie_word_embeddings": False}),
    "llama tied": (LlamaForCausalLM, LlamaConfig, LLAMA | {"tie_word_embeddings": True}),
    "llama gelu, wide theta": (LlamaForCausalLM, LlamaConfig, LLAMA | {"hidden_act": "gelu", "rope_theta": 5e5}),
    "gpt2": (GPT2LMHeadModel, GPT2Config, GPT2),
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, PreTrainedModel]]:
    """Return a writer of tiny checkpoints by trait; each is made once."""
    made: dict[str, tuple[Path, PreTrainedModel]] = {}

    def write(trait: str) -> tuple[Path, PreTrainedModel]:
        if trait not in made:
            model_class, config_class, fields = TRAITS[trait]
            model = model_class(config_class(**fields)).eval()
            generator = torch.Generator().manual_seed(11)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15 + 0.02)
            folder = tmp_path_factory.mktemp("checkpoint")
            model.save_pretrained(folder)
            made[trait] = folder, model
        return made[trait]

    return write


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep kernels and compiled steps for the session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(params=["kernels", "plain"])
def operators(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with Kelvin's kernels, and again with the operators in plain torch."""
    if request.param == "plain":
        monkeypatch.setattr(torch_backend, "load_kernels", lambda cache_dir: False)
    return request.param


@pytest.fixture
def make_backend(checkpoint: Callable[[str], tuple[Path, PreTrainedModel]], cache_dir: Path):
    """Return a maker of backends; they are closed after the test."""
    backends = []

    def make(trait: str = "llama", **options: object) -> TorchBackend:
        folder = options.pop("folder", None) or checkpoint(trait)[0]
        spec = load_spec(folder)
        weights = options.pop("change", lambda weights: weights)(read_weights(folder, spec))
        defaults = {"dtype": "float32", "num_slots": 8, "max_length": 320, "compile": False, "cache_dir": cache_dir}
        backends.append(TorchBackend(spec, weights, **defaults | options))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Run TensorFlow's functions operation by operation, without graphs."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def fill(backend: TorchBackend, slot: int, token_ids: list[int], chunk: int = 10_000) -> None:
    """Prefill all but the last token of a prompt, `chunk` tokens at a time."""
    chunk = min(chunk, backend.prefill_chunk)
    for start in range(0, len(token_ids) - 1, chunk):
        backend.prefill([PromptPiece(slot, token_ids[start : min(start + chunk, len(token_ids) - 1)], start)])


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Find the built-in model, or skip."""
    folder = Settings().models_dir / "smollm2"
    if not folder.is_dir():
        pytest.skip(f"the built-in model is not at {folder}; fetch it with `kelvin models pull smollm2`")
    return require_model(folder)
