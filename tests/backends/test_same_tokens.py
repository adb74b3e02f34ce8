"""Same tokens: a seeded request draws the same in torch and in TensorFlow, both in float32; ties apart.

The frameworks round logits and noise otherwise in the last bits, so a draw may differ where two tokens tie within them.
2000 tokens are compared; at most 0.5 % may differ, and each that does must be a tie within 1e-4 in logit plus noise.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from samplers.chain import distance_from_best, process
from samplers.kept import truncate
from samplers.noise import gumbel_noise
from samplers.params import SamplingParams
from samplers.row import state_row
from samplers.state import SamplingState, neutral_state
from server.backends import load_backend
from server.backends.base import Backend
from server.models.load import load_spec
from server.models.weights import read_weights
from tests.backends.checkpoints import MAX_LENGTH, VOCAB_SIZE, write_checkpoint
from tests.backends.conftest import fill
from tests.backends.test_tensorflow import mixed_params

TOKENS = 2000
SLOTS = 8
TIE = 1e-4


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[list[Backend]]:
    """Load one checkpoint into both frameworks."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint("qwen3", folder)
    spec = load_spec(folder)
    weights = read_weights(folder, spec)
    options = {"dtype": "float32", "num_slots": SLOTS, "max_length": MAX_LENGTH, "compile": False}
    loaded = [load_backend(name, spec, weights, cache_dir=cache_dir, **options) for name in ("torch", "tensorflow")]
    yield loaded
    for backend in loaded:
        backend.close()


def scores(backend: Backend, params: SamplingParams, prompt: list[int], generated: list[int]) -> np.ndarray:
    """Return logit plus noise, tempered, of the next token of a sequence; -inf where it may not be drawn."""
    fill(backend, 0, prompt + generated)
    backend.admit(0, prompt + generated, params)
    like = neutral_state(1, VOCAB_SIZE, len(backend.eos_token_ids), MAX_LENGTH)
    options = {"eos_token_ids": backend.eos_token_ids, "sample_index": 0, "like": like}
    row: SamplingState = state_row(params, prompt_ids=prompt, generated_ids=generated, **options)
    distance = distance_from_best(process(np.array([backend.logits(0)], np.float32), row))
    noise = gumbel_noise(row.key0, row.key1, row.step, VOCAB_SIZE) if row.temperature[0] > 0 else 0.0
    return (noise - truncate(distance, row).tempered(distance))[0]


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_seeded_request_draws_the_same_tokens_in_both_frameworks(backends):
    chance, compared, differences = random.Random(1), 0, []
    for batch in range(TOKENS):
        if compared >= TOKENS:
            break
        requests = {}
        for slot in range(SLOTS):
            prompt = chance.choices(range(3, VOCAB_SIZE), k=chance.randint(1, 30))
            requests[slot] = prompt, mixed_params(batch * SLOTS + slot)
            for backend in backends:
                fill(backend, slot, prompt)
                backend.admit(slot, *requests[slot])
        generated: dict[int, list[int]] = {slot: [] for slot in requests}
        for _ in range(25):
            slots = list(generated)
            drawn = [backend.decode(slots).token_ids for backend in backends]
            for slot, ours, theirs in zip(slots, *drawn, strict=True):
                compared += 1
                if ours == theirs:
                    generated[slot].append(ours)
                else:  # from here on the two write different texts
                    differences.append((*requests[slot], generated.pop(slot), ours, theirs))
    assert len(differences) <= 0.005 * compared
    for prompt, params, before, ours, theirs in differences:
        score = scores(backends[0], params, prompt, before)
        assert abs(score[ours] - score[theirs]) < TIE, f"{params} after {len(before)} tokens"
