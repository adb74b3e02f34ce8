"""Every family and trait against transformers, float32: the same logits through pieces of prompts and decode steps."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from samplers.params import SamplingParams
from samplers.xp import torch as xp_torch
from server.backends import load_backend
from server.backends import torch as torch_backend
from server.backends.base import Backend, PromptPiece
from server.models.load import load_spec
from server.models.weights import read_weights
from tests.backends.checkpoints import CASES, MAX_LENGTH, VOCAB_SIZE, WINDOW, write_checkpoint

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


@pytest.fixture(params=["torch with kernels", "torch without kernels"])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cache_dir: Path):
    """Return a loader of model folders into one backend; its models are closed after the test."""
    framework, _, operators = request.param.partition(" ")
    if operators == "without kernels":
        monkeypatch.setattr(torch_backend, "load_kernels", lambda cache_dir: False)
        monkeypatch.setattr(xp_torch, "_cpu_quantile", None)
    backends = []

    def load(folder: Path, dtype: str = "float32") -> Backend:
        spec = load_spec(folder)
        options: dict[str, Any] = {"num_slots": 8, "max_length": MAX_LENGTH, "compile": False, "cache_dir": cache_dir}
        backends.append(load_backend(framework, spec, read_weights(folder, spec), dtype=dtype, **options))
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
