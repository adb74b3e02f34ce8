"""Every family and trait against transformers, float32: the same logits through pieces of prompts and decode steps."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from samplers.params import SamplingParams
from server.backends import load_backend, torch_plain
from server.backends.base import Backend, PromptPiece
from server.backends.torch_decoder import Decoder
from server.backends.torch_kernels import load_kernels
from server.models.load import load_spec
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights, read_weights
from tests.backends.checkpoints import CASES, FAR_CASES, FAR_WINDOW, MAX_LENGTH, VOCAB_SIZE, WINDOW, write_checkpoint

Change = Callable[[DecoderSpec, DecoderWeights], tuple[DecoderSpec, DecoderWeights]]

TOLERANCE = 1e-4
CHUNK = 16
STEPS = 5
# Slot → length of its prompt and of the pieces it comes in. All tokens but the last are prefilled, so that 16, 17 and
# 18 end before, at and after the border of a chunk; the longest one fills its slot to the last position.
PROMPTS = {
    3: (1, CHUNK),
    0: (2, CHUNK),
    7: (CHUNK, CHUNK),
    1: (CHUNK + 1, CHUNK),
    5: (CHUNK + 2, CHUNK),
    2: (33, 5),
    6: (WINDOW + 1, 1),
    4: (MAX_LENGTH - STEPS, 2 * CHUNK + 3),
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, PreTrainedModel]]:
    """Return a writer of checkpoints by case; each is made once."""
    made: dict[str, tuple[Path, PreTrainedModel]] = {}

    def write(case: str) -> tuple[Path, PreTrainedModel]:
        if case not in made:
            folder = tmp_path_factory.mktemp("checkpoint")
            made[case] = folder, write_checkpoint(case, folder)
        return made[case]

    return write


@pytest.fixture(params=[f"{name} {how} kernels" for name in ("torch", "tensorflow") for how in ("with", "without")])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cache_dir: Path):
    """Return a loader of model folders into one backend; its models are closed after the test.

    TensorFlow runs eagerly here, since graphs of every family take long to make; test_tensorflow.py compiles some.
    """
    framework, _, operators = request.param.partition(" ")
    if framework == "tensorflow":
        request.getfixturevalue("eagerly")
    if operators == "without kernels":
        monkeypatch.setattr(f"server.backends.{framework}.load_kernels", lambda cache_dir: False)
    backends = []

    def load(folder: Path, change: Change = lambda spec, weights: (spec, weights), dtype: str = "float32") -> Backend:
        spec = load_spec(folder)
        options: dict[str, Any] = {"num_slots": 8, "max_length": spec.context_length, "compile": False}
        changed = change(spec, read_weights(folder, spec))
        backends.append(load_backend(framework, *changed, dtype=dtype, cache_dir=cache_dir, **options))
        return backends[-1]

    yield load
    for backend in backends:
        backend.close()


def tokens(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(3, VOCAB_SIZE), k=count)


def prefill(backend: Backend, slot: int, prompt: Sequence[int], chunk: int) -> None:
    for start in range(0, len(prompt) - 1, chunk):
        backend.prefill([PromptPiece(slot, prompt[start : min(start + chunk, len(prompt) - 1)], start)])


@torch.no_grad()
def assert_last_logits(backend: Backend, model: PreTrainedModel, sequences: dict[int, list[int]]) -> None:
    for slot, token_ids in sequences.items():
        expected = model(torch.tensor([token_ids])).logits[0, -1]
        difference = (torch.tensor(backend.logits(slot)) - expected).abs().max().item()
        assert difference < TOLERANCE, f"slot {slot} at {len(token_ids)} tokens"


@pytest.mark.parametrize("case", CASES)
def test_prompts_in_pieces_and_the_steps_after_them_give_the_logits_of_transformers(case, load, checkpoint):
    folder, model = checkpoint(case)
    backend = load(folder)
    sequences = {slot: tokens(length, seed=slot) for slot, (length, _) in PROMPTS.items()}
    for slot, prompt in sequences.items():
        prefill(backend, slot, prompt, chunk=PROMPTS[slot][1])
        backend.admit(slot, prompt, SamplingParams(seed=slot, ignore_eos=True))
    assert_last_logits(backend, model, sequences)
    for _ in range(STEPS):
        for slot, drawn in zip(sequences, backend.decode(list(sequences)).token_ids, strict=True):
            sequences[slot].append(drawn)
    assert max(len(token_ids) for token_ids in sequences.values()) == MAX_LENGTH
    assert_last_logits(backend, model, sequences)


@pytest.mark.parametrize("case", ["phi3", "gpt_neox", "opt"])
def test_shards_give_the_logits_of_transformers(case, load, tmp_path):
    model = write_checkpoint(case, tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    backend, prompt = load(tmp_path), tokens(20, seed=0)
    prefill(backend, 0, prompt, CHUNK)
    backend.admit(0, prompt, SamplingParams())
    assert_last_logits(backend, model, {0: prompt})


@pytest.mark.parametrize("case", FAR_CASES)
def test_a_window_longer_than_a_block_of_the_kernel_slides(case, load, checkpoint):
    folder, model = checkpoint(case)
    backend = load(folder)
    sequences = {0: tokens(FAR_WINDOW + 1, seed=1), 1: tokens(290, seed=2)}
    for slot, prompt in sequences.items():
        prefill(backend, slot, prompt, chunk=100)
        backend.admit(slot, prompt, SamplingParams())
    assert_last_logits(backend, model, sequences)


def scales_as_stored(spec: DecoderSpec, weights: DecoderWeights) -> tuple[DecoderSpec, DecoderWeights]:
    return spec, replace(weights, final_norm=weights.final_norm - 1)


def layers_without(**fields: None) -> Change:
    def change(spec: DecoderSpec, weights: DecoderWeights) -> tuple[DecoderSpec, DecoderWeights]:
        return spec, replace(weights, layers=tuple(replace(layer, **fields) for layer in weights.layers))

    return change


def positions_from_row_0(spec: DecoderSpec, weights: DecoderWeights) -> tuple[DecoderSpec, DecoderWeights]:
    assert weights.positions is not None
    return spec, replace(weights, positions=weights.positions[np.r_[1:MAX_LENGTH, 0]])


def spec_with(**fields: object) -> Change:
    return lambda spec, weights: (replace(spec, **fields), weights)


def rope_with(**fields: object) -> Change:
    return lambda spec, weights: (replace(spec, rope=replace(spec.rope, **fields)), weights)


@pytest.mark.parametrize("load", ["torch with kernels"], indirect=True)
@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("llama", spec_with(norm_eps=1e-2)),
        ("llama with biases, gelu", layers_without(qkv_bias=None)),
        ("llama with biases, gelu", layers_without(out_bias=None)),
        ("llama with biases, gelu", layers_without(up_bias=None)),
        ("llama with biases, gelu", layers_without(down_bias=None)),
        ("llama with biases, gelu", spec_with(activation="gelu_tanh")),
        ("llama linear rope", rope_with(factor=1.0)),
        ("llama llama3 rope", rope_with(scaling="default", factor=1.0)),
        ("llama llama3 rope", rope_with(scaling="linear")),
        ("mistral sliding", spec_with(windows=(0, 0))),
        ("mistral sliding", spec_with(windows=(WINDOW + 1, WINDOW))),
        ("qwen2", layers_without(qkv_bias=None)),
        ("qwen2 sliding late", spec_with(windows=(0, 0))),
        ("qwen2 sliding late", spec_with(windows=(WINDOW, WINDOW))),
        ("qwen3", layers_without(query_norm=None)),
        ("qwen3 sliding by type, biases", spec_with(windows=(WINDOW, 0))),
        ("smollm3", spec_with(rotates=(True, True))),
        ("smollm3 sliding, biases, untied", spec_with(windows=(0, 0))),
        ("phi3 sliding, partly rotary", rope_with(width=16)),
        ("phi3 sliding, partly rotary", spec_with(windows=(0, 0))),
        ("gemma", spec_with(embedding_scale=1.0)),
        ("gemma", scales_as_stored),
        ("gemma2", spec_with(attention_scale=0.25)),
        ("gemma2", spec_with(attention_softcap=0.0)),
        ("gemma2", spec_with(logit_softcap=0.0)),
        ("gemma2", spec_with(windows=(0, WINDOW))),
        ("gemma2", layers_without(post_attention_norm=None)),
        ("gemma2", layers_without(post_mlp_norm=None)),
        ("gpt_neox", spec_with(parallel_residual=False)),
        ("gpt_neox", rope_with(width=16)),
        ("gpt_neox serial, odd rotary width, no biases", spec_with(parallel_residual=True)),
        ("gpt_neox linear rope", rope_with(factor=1.0)),
        ("opt", positions_from_row_0),
    ],
)
def test_a_trait_left_out_would_be_seen(case, change, load, checkpoint):
    folder, model = checkpoint(case)
    backend, prompt = load(folder, change), tokens(40, seed=0)
    prefill(backend, 0, prompt, CHUNK)
    backend.admit(0, prompt, SamplingParams())
    with pytest.raises(AssertionError, match="slot 0 at 40 tokens"):
        assert_last_logits(backend, model, {0: prompt})


@pytest.mark.parametrize("load", ["torch with kernels"], indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", ["qwen3 sliding by type, biases", "smollm3", "gemma2", "gpt_neox", "opt"])
def test_the_bits_of_a_row_depend_on_no_other_row(case, dtype, load, checkpoint, cache_dir):
    if not load_kernels(cache_dir):
        pytest.skip("no C++ compiler here: only the kernels promise bits")
    backend, prompt = load(checkpoint(case)[0], dtype=dtype), tokens(30, seed=0)
    logits = []
    for neighbours, chunk in ((0, 100), (1, 7), (3, 1), (7, 16)):
        rows = list(range(1, 1 + neighbours))
        for slot in rows:
            prefill(backend, slot, tokens(5 * slot, seed=slot), CHUNK)
            backend.admit(slot, tokens(5 * slot, seed=slot), SamplingParams(seed=slot, ignore_eos=True, logprobs=0))
        prefill(backend, 0, prompt, chunk)
        backend.admit(0, prompt, SamplingParams(seed=5, ignore_eos=True, logprobs=20))
        rows.insert(neighbours // 2, 0)
        drawn = [backend.decode(rows) for _ in range(STEPS)]
        mine = rows.index(0)
        logits.append(([step.token_ids[mine] for step in drawn], drawn[-1].logprobs[mine], backend.logits(0)))
    assert logits[1:] == logits[:1] * 3


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_stays_near_float32(case, load, checkpoint):
    folder, model = checkpoint(case)
    backend, prompt = load(folder, dtype="bfloat16"), tokens(40, seed=0)
    prefill(backend, 0, prompt, CHUNK)
    backend.admit(0, prompt, SamplingParams())
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0, -1]
    assert (torch.tensor(backend.logits(0)) - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("case", ["qwen3 sliding by type, biases", "smollm3", "gemma2", "gpt_neox", "opt"])
def test_a_step_is_one_graph(case, checkpoint):
    folder = checkpoint(case)[0]
    spec = load_spec(folder)
    device = torch.device("cpu")
    options = {"operators": torch_plain, "dtype": torch.float32, "device": device, "max_length": MAX_LENGTH}
    decoder = Decoder(spec, read_weights(folder, spec), **options)
    caches = [torch.zeros(4, spec.num_kv_heads, MAX_LENGTH, spec.head_dim) for _ in range(2 * spec.num_layers)]

    def step(token_ids: torch.Tensor, slots: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        keys, values = caches[: spec.num_layers], caches[spec.num_layers :]
        return decoder.logits(decoder(token_ids, slots, positions, keys, values))

    inputs = torch.tensor([5, 6]), torch.tensor([0, 3]), torch.tensor([0, 0])
    with torch.no_grad():
        compiled = torch.compile(step, fullgraph=True, backend="eager")(*inputs)
        torch.testing.assert_close(compiled, step(*inputs))
