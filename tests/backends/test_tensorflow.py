"""What XLA compiles: the same logits and rows as elsewhere, one program for all requests, kept on disk."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")

import numpy as np

from samplers.params import SamplingParams
from server.backends import tensorflow as tensorflow_backend
from server.backends.tensorflow import TensorFlowBackend
from server.backends.tensorflow_compile import Compilation
from server.backends.tensorflow_programs import Programs
from server.errors import ModelError
from server.models.load import load_spec
from server.models.weights import read_weights
from tests.backends.checkpoints import MAX_LENGTH, VOCAB_SIZE, write_checkpoint
from tests.backends.conftest import fill
from tests.fakes import wait_until

CHUNK = 16
SLOTS = 4
PROMPT = [9, 8, 7]
TOLERANCE = 1e-4
Make = Callable[..., TensorFlowBackend]


@pytest.fixture(scope="module", params=["kernels", "plain"])
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Return a maker of backends with small prefill programs; they are closed after the module's tests."""
    cache_dir, backends = tmp_path_factory.mktemp("cache"), []

    def make(folder: Path, poisoned: int | None = None, **options: object) -> TensorFlowBackend:
        spec = load_spec(folder)
        weights = read_weights(folder, spec)
        if poisoned is not None:
            weights.embedding[poisoned] = np.nan
        defaults = {"dtype": "float32", "num_slots": SLOTS, "max_length": MAX_LENGTH, "compile": False}
        backends.append(TensorFlowBackend(spec, weights, **defaults | {"cache_dir": cache_dir} | options))
        return backends[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorflow_backend, "PREFILL_CHUNK", CHUNK)
        if request.param == "plain":
            patch.setattr(tensorflow_backend, "load_kernels", lambda cache_dir: False)
        yield make
    for backend in backends:
        backend.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint("llama", folder)
    return folder


@pytest.fixture(scope="module")
def compiled(make: Make, folder: Path) -> TensorFlowBackend:
    backend = make(folder, compile=True)
    assert backend.wait_until_compiled(timeout_s=300)
    return backend


@pytest.fixture(scope="module")
def without(make: Make, folder: Path) -> TensorFlowBackend:
    return make(folder)


def tokens(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(3, VOCAB_SIZE), k=count)


def mixed_params(seed: int) -> SamplingParams:
    """Draw the parameters of a request."""
    draw = random.Random(seed)
    return SamplingParams(
        seed=seed,
        temperature=draw.choice([0.0, 0.7, 1.0, 1.5]),
        top_k=draw.choice([0, 0, 5]),
        top_p=draw.choice([1.0, 0.9]),
        min_p=draw.choice([0.0, 0.05]),
        typical_p=draw.choice([1.0, 0.9]),
        xtc_probability=draw.choice([0.0, 0.0, 0.5]),
        repetition_penalty=draw.choice([1.0, 1.2]),
        frequency_penalty=draw.choice([0.0, 0.3]),
        dry_multiplier=draw.choice([0.0, 0.8]),
        logit_bias=draw.choice([{}, {5: 1.5}]),
        order=draw.choice(["hf", "vllm", "llamacpp"]),
        ignore_eos=True,
    )


def start(backend: TensorFlowBackend, slot: int, prompt: list[int], params: SamplingParams) -> None:
    fill(backend, slot, prompt, CHUNK)
    backend.admit(slot, prompt, params)


@pytest.mark.parametrize("case", ["gemma2", "opt"])
def test_compiled_prompts_and_steps_give_the_logits_of_transformers(case, make, tmp_path):
    """Prompts end before, at and after the border of a prefill program, and the longest fills its slot."""
    model = write_checkpoint(case, tmp_path)
    backend = make(tmp_path, compile=True, num_slots=2)
    assert backend.wait_until_compiled(timeout_s=300)
    for lengths in ((1, CHUNK), (CHUNK + 1, CHUNK + 2), (2, MAX_LENGTH - 2)):
        sequences = {slot: tokens(length, seed=length) for slot, length in zip((1, 0), lengths, strict=True)}
        for slot, prompt in sequences.items():
            start(backend, slot, prompt, SamplingParams(seed=slot, ignore_eos=True, logprobs=20))
        for _ in range(3):
            step = backend.decode(list(sequences))
            for slot, drawn, said in zip(sequences, step.token_ids, step.logprobs, strict=True):
                with torch.no_grad():
                    expected = model(torch.tensor([sequences[slot]])).logits[0, -1].log_softmax(-1)
                assert said.logprob == pytest.approx(expected[drawn].item(), abs=TOLERANCE)
                assert said.top_logprobs == pytest.approx(expected[list(said.top_ids)].tolist(), abs=TOLERANCE)
                sequences[slot].append(drawn)
    assert len(sequences[0]) == MAX_LENGTH + 1  # the last token drawn is never fed


def test_a_request_alone_draws_what_it_draws_among_others(compiled):
    prompts = {slot: tokens(3 + 7 * slot, seed=slot) for slot in (3, 0, 2)}  # one row fewer than the program has
    alone = {}
    for slot, prompt in prompts.items():
        start(compiled, slot, prompt, mixed_params(slot))
        alone[slot] = [compiled.decode([slot]).token_ids[0] for _ in range(12)]
    for slot, prompt in prompts.items():
        start(compiled, slot, prompt, mixed_params(slot))
    together = [compiled.decode(list(prompts)).token_ids for _ in range(12)]
    for row, slot in enumerate(prompts):
        assert [step[row] for step in together] == alone[slot]


def test_compiled_programs_draw_what_is_drawn_without(compiled, without):
    for backend in (compiled, without):
        for slot in range(SLOTS):
            start(backend, slot, tokens(20 + slot, seed=slot), mixed_params(10 + slot))
    for _ in range(10):
        assert compiled.decode(range(SLOTS)).token_ids == without.decode(range(SLOTS)).token_ids


def test_trial_runs_leave_live_sequences_alone(without):
    """The compiler may be late: it runs its programs beside requests that decode already."""
    prompt, params = tokens(20, seed=1), SamplingParams(seed=3, repetition_penalty=1.3, ignore_eos=True)
    start(without, 2, prompt, params)
    expected = [without.decode([2]).token_ids[0] for _ in range(8)]
    start(without, 2, prompt, params)
    drawn = [without.decode([2]).token_ids[0] for _ in range(4)]
    for trial in without._programs.trials().values():
        trial()
    assert drawn + [without.decode([2]).token_ids[0] for _ in range(4)] == expected


def test_a_copied_prompt_decodes_like_its_source(compiled):
    prompt, params = tokens(30, seed=2), SamplingParams(seed=1, ignore_eos=True)
    start(compiled, 0, prompt, params)
    expected = [compiled.decode([0]).token_ids[0] for _ in range(6)]
    fill(compiled, 1, tokens(50, seed=9), CHUNK)  # what an earlier sequence has left
    fill(compiled, 3, prompt, CHUNK)
    compiled.copy(3, 1, len(prompt) - 1)
    compiled.admit(1, prompt, params)
    assert [compiled.decode([1]).token_ids[0] for _ in range(6)] == expected


@pytest.mark.parametrize("compile", [False, True])
def test_a_row_that_is_not_finite_fails_alone_and_leaves_nothing(compile, make, folder):
    poison, params = 200, SamplingParams(seed=3, ignore_eos=True)
    backend = make(folder, poisoned=poison, compile=compile, num_slots=2)
    assert backend.wait_until_compiled(timeout_s=300) is compile
    start(backend, 0, PROMPT, params)
    expected = [backend.decode([0]).token_ids[0] for _ in range(4)]
    assert poison not in expected
    start(backend, 0, PROMPT, params)
    start(backend, 1, [5, poison, 7, poison, 11, 12], params)
    for token_id in expected:
        step = backend.decode([1, 0])
        assert step.finite == [False, True]
        assert step.token_ids == [0, token_id]
    backend.release(1)
    start(backend, 1, PROMPT, params)
    assert [backend.decode([1]).token_ids[0] for _ in range(4)] == expected


def test_a_program_that_cannot_be_compiled_is_done_without_and_says_so(make, folder, without, monkeypatch, caplog):
    def fail() -> None:
        raise RuntimeError("no room on the disk")

    monkeypatch.setattr(Programs, "trials", lambda self: {1: fail})
    backend = make(folder, compile=True)
    assert not backend.wait_until_compiled(timeout_s=60)
    assert "what is left goes without" in caplog.text
    for each in (backend, without):
        start(each, 0, PROMPT, mixed_params(1))
    assert [backend.decode([0]).token_ids for _ in range(5)] == [without.decode([0]).token_ids for _ in range(5)]


def test_a_compilation_stops_when_its_model_is_closed():
    begun, compiled, ran = threading.Event(), threading.Event(), []

    def trial():
        begun.set()
        compiled.wait(30)
        ran.append(1)

    compilation = Compilation({1: trial, 2: lambda: ran.append(2)})
    assert begun.wait(30)
    closing = threading.Thread(target=compilation.close)
    closing.start()
    wait_until(lambda: compilation._closing)
    compiled.set()
    closing.join(30)
    assert ran == [1]  # the program under way is waited for, and no other is begun


def test_a_device_that_is_not_there_is_a_clear_error(make, folder):
    with pytest.raises(ModelError, match="TensorFlow sees 0 GPUs here; use --device cpu or auto"):
        make(folder, device="cuda")


SERVE_200_REQUESTS = """
import random, sys
from pathlib import Path
from tests.backends import test_tensorflow as here
folder, cache_dir = map(Path, sys.argv[1:3])
plain, slots = sys.argv[3] == "plain", int(sys.argv[4])
here.tensorflow_backend.PREFILL_CHUNK = here.CHUNK
if plain:
    here.tensorflow_backend.load_kernels = lambda cache_dir: False
spec = here.load_spec(folder)
options = dict(dtype="float32", num_slots=slots, max_length=here.MAX_LENGTH, cache_dir=cache_dir)
backend = here.TensorFlowBackend(spec, here.read_weights(folder, spec), **options)
assert backend.wait_until_compiled(timeout_s=300)
kept = lambda: len(list(cache_dir.rglob("*.pb")))
traced = lambda: [f.experimental_get_tracing_count() for f in (backend._programs._write, backend._programs._steps)]
before, chance = (kept(), traced()), random.Random(0)
for request in range(200):
    slot = request % slots
    here.start(backend, slot, here.tokens(chance.randint(1, 50), seed=request), here.mixed_params(request))
    for _ in range(2):
        live = range(min(request + 1, slots))
        backend.decode(chance.sample(live, chance.randint(1, len(live))))
print(before[0], kept(), before[1] == traced())
"""


@pytest.mark.parametrize(("operators", "slots", "programs"), [("kernels", 40, 5), ("plain", 4, 3)])
def test_200_mixed_requests_compile_nothing_and_a_second_start_finds_all_programs(
    operators, slots, programs, folder, tmp_path
):
    """Programs are counted by the files that XLA keeps of them: 1, 8, 16, 32 and 40 rows, or prefill, 1 and 4 rows."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_XLA_FLAGS"}
    for _ in range(2):
        command = [sys.executable, "-c", SERVE_200_REQUESTS, str(folder), str(tmp_path), operators, str(slots)]
        outcome = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert outcome.returncode == 0, outcome.stderr
        assert outcome.stdout.split() == [str(programs), str(programs), "True"]
        assert "retracing" not in outcome.stderr
