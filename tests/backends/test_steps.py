"""Several steps in one call of TensorFlow: the tokens, ends and descriptions of as many calls of one step."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")

import numpy as np

from samplers.params import SamplingParams
from server.backends import tensorflow as tensorflow_backend
from server.backends.base import Decoded
from server.backends.tensorflow import TensorFlowBackend
from server.backends.tensorflow_steps import pick_max_steps
from server.models.load import load_spec
from server.models.weights import read_weights
from tests.backends.checkpoints import MAX_LENGTH, write_checkpoint
from tests.backends.test_tensorflow import CHUNK, mixed_params, start, tokens

EOS = 2
SLOTS = 4
STEPS = 4
LENGTHS = {3: 1, 0: 6, 2: 11}  # tokens that the slots may draw: one, and no multiples of what a call draws


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint("llama", folder)
    return folder


@pytest.fixture(scope="module", params=["kernels", "plain"])
def backends(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, TensorFlowBackend]]:
    """Return what draws a step a call without programs, and what draws four without and with them."""
    spec = load_spec(folder)
    options = {"dtype": "float32", "num_slots": SLOTS, "max_length": MAX_LENGTH}
    options["cache_dir"] = tmp_path_factory.mktemp("cache")
    kinds = {"single": (1, False), "without": (STEPS, False), "programs": (STEPS, True)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorflow_backend, "PREFILL_CHUNK", CHUNK)
        if request.param == "plain":
            patch.setattr(tensorflow_backend, "load_kernels", lambda cache_dir: False)
        made = {
            kind: TensorFlowBackend(spec, read_weights(folder, spec), max_steps=steps, compile=compile, **options)
            for kind, (steps, compile) in kinds.items()
        }
        assert made["programs"].wait_until_compiled(timeout_s=300)
        yield made
    for backend in made.values():
        backend.close()


@pytest.fixture(params=["without", "programs"])
def looped(request: pytest.FixtureRequest, backends: dict[str, TensorFlowBackend]) -> TensorFlowBackend:
    return backends[request.param]


@pytest.fixture
def single(backends: dict[str, TensorFlowBackend]) -> TensorFlowBackend:
    return backends["single"]


def admit_all(backend: TensorFlowBackend, params: dict[int, SamplingParams]) -> None:
    for slot, own in params.items():
        start(backend, slot, tokens(3 + 7 * slot, seed=slot), own)


def draw_one_by_one(backend: TensorFlowBackend, params: dict[int, SamplingParams]) -> dict[int, list]:
    """Draw what each slot may, a step a call; a slot that has ended leaves the batch."""
    admit_all(backend, params)
    drawn = {slot: [] for slot in params}
    live = list(params)
    while live:
        step = backend.decode(live)
        for row, slot in enumerate(live):
            drawn[slot].append((step.token_ids[row], step.logprobs[row], step.measures[row]))
        live = [slot for slot in live if not ended(drawn[slot], params[slot])]
    return drawn


def draw_by_calls(backend: TensorFlowBackend, params: dict[int, SamplingParams]) -> tuple[dict[int, list], list[int]]:
    """Draw the same, up to four steps a call; the steps of each call come back too."""
    admit_all(backend, params)
    drawn, calls = {slot: [] for slot in params}, []
    live = list(params)
    while live:
        steps: Sequence[Decoded] = backend.decode_steps(live, STEPS)
        calls.append(len(steps))
        for step in steps:
            for row, slot in enumerate(live):
                if not ended(drawn[slot], params[slot]):
                    assert step.finite[row]
                    drawn[slot].append((step.token_ids[row], step.logprobs[row], step.measures[row]))
        live = [slot for slot in live if not ended(drawn[slot], params[slot])]
    return drawn, calls


def ended(drawn: list, params: SamplingParams) -> bool:
    stops = {*params.stop_token_ids, *(() if params.ignore_eos else (EOS,))}
    return len(drawn) == params.max_tokens or (bool(drawn) and drawn[-1][0] in stops)


def alike(one: dict[int, list], other: dict[int, list]) -> None:
    for slot, draws in one.items():
        assert [token_id for token_id, *_ in draws] == [token_id for token_id, *_ in other[slot]]
        for (_, logprobs, measures), (_, its_logprobs, its_measures) in zip(draws, other[slot], strict=True):
            assert (logprobs is None) == (its_logprobs is None)
            if logprobs is not None:
                assert logprobs.logprob == pytest.approx(its_logprobs.logprob, abs=1e-4)
                assert logprobs.top_logprobs == pytest.approx(its_logprobs.top_logprobs, abs=1e-4)
                assert logprobs.kept == its_logprobs.kept
            assert (measures is None) == (its_measures is None)
            assert measures is None or measures == pytest.approx(its_measures, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_four_steps_a_call_draw_what_one_does(seed, looped, single):
    """Every row has its own sampler, length and descriptions."""
    params = {
        slot: replace(mixed_params(10 * seed + slot), max_tokens=length, logprobs=5, measures=True)
        for slot, length in LENGTHS.items()
    }
    params[0] = replace(params[0], logprobs=None, measures=False)
    expected = draw_one_by_one(single, params)
    drawn, calls = draw_by_calls(looped, params)
    alike(expected, drawn)
    assert [len(drawn[slot]) for slot in LENGTHS] == list(LENGTHS.values())
    assert calls == [4, 4, 3]  # the longest has 11 tokens, and nobody waits for a fourth step of the last call


def test_stop_ids_end_a_row_within_a_call_and_a_call_with_its_last_row(looped, single):
    free = {slot: SamplingParams(seed=slot, ignore_eos=True, max_tokens=11) for slot in (1, 0)}
    drawn = {slot: [token_id for token_id, *_ in draws] for slot, draws in draw_one_by_one(single, free).items()}
    stopped = {slot: replace(free[slot], stop_token_ids=(drawn[slot][place],)) for slot, place in ((1, 1), (0, 5))}
    lengths = [drawn[slot].index(stopped[slot].stop_token_ids[0]) + 1 for slot in stopped]
    expected = draw_one_by_one(single, stopped)
    result, calls = draw_by_calls(looped, stopped)
    alike(expected, result)
    assert [len(result[slot]) for slot in stopped] == lengths
    assert sum(calls) == max(lengths)
    assert max(lengths) % STEPS


def test_the_models_own_end_ends_a_row_unless_it_is_ignored(looped):
    bias = {EOS: 100.0}
    for ignore_eos, steps in ((False, 1), (True, STEPS)):
        start(looped, 0, tokens(5, seed=1), SamplingParams(seed=1, logit_bias=bias, ignore_eos=ignore_eos))
        drawn = looped.decode_steps([0], STEPS)
        assert [step.token_ids for step in drawn] == [[EOS]] * steps


def test_an_ended_row_stays_where_it_ended_while_others_go_on(looped, single):
    params = {1: SamplingParams(seed=1, ignore_eos=True, max_tokens=2)}
    draw_one_by_one(single, params)
    admit_all(looped, params | {0: SamplingParams(seed=2, ignore_eos=True, max_tokens=9)})
    assert len(looped.decode_steps([1, 0], STEPS)) == STEPS
    np.testing.assert_allclose(looped.logits(1), single.logits(1), atol=1e-4)


def test_a_row_may_fill_its_slot_within_a_call(looped, single):
    prompt = tokens(MAX_LENGTH - 6, seed=3)
    for backend in (looped, single):
        start(backend, 0, prompt, SamplingParams(seed=1, ignore_eos=True, max_tokens=6, repetition_penalty=1.1))
    expected = [single.decode([0]).token_ids for _ in range(6)]
    assert [step.token_ids for _ in range(2) for step in looped.decode_steps([0], STEPS)] == expected


def test_any_number_of_steps_runs_in_the_same_program(backends):
    looped, chance = backends["programs"], random.Random(0)
    before = looped._programs._steps.experimental_get_tracing_count()
    for request in range(12):
        start(looped, 0, tokens(5, seed=request), mixed_params(request))
        steps = chance.randint(1, STEPS)
        assert len(looped.decode_steps([0], steps)) == steps
    assert looped._programs._steps.experimental_get_tracing_count() == before


@pytest.mark.parametrize(
    ("weight_bytes", "device", "steps"),
    [
        (538e6, "cpu", 1),
        (100e6, "cpu", 4),
        (1e6, "cpu", 8),
        (538e6, "cuda:0", 8),
        (8e9, "cuda:0", 2),
        (6e10, "cuda:0", 1),
    ],
)
def test_steps_of_a_call_are_as_many_as_fit_its_time(weight_bytes, device, steps):
    assert pick_max_steps(weight_bytes, device) == steps
