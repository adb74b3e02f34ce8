"""Decoding at fixed addresses, with recordings on the CPU for CUDA graphs: the same tokens, and few recordings."""

import random

import pytest

from samplers.params import SamplingParams
from server.backends import torch as torch_backend
from server.backends import torch_kernels
from server.backends.torch_graphs import buckets_of
from server.backends.torch_static import pick_max_steps
from tests.backends.conftest import VOCAB_SIZE, fill
from tests.backends.recorded import Recorder

EVERYTHING = SamplingParams(
    temperature=0.9,
    top_k=50,
    top_p=0.95,
    min_p=0.01,
    typical_p=0.98,
    top_n_sigma=3.0,
    epsilon_cutoff=1e-4,
    eta_cutoff=1e-4,
    xtc_probability=0.5,
    xtc_threshold=0.1,
    repetition_penalty=1.1,
    presence_penalty=0.1,
    frequency_penalty=0.1,
    no_repeat_ngram_size=4,
    dry_multiplier=0.8,
    logit_bias={7: 1.0},
    bad_words=((5, 6),),
    min_tokens=4,
    ignore_eos=True,
    max_tokens=60,
    seed=1,
)
PARAMS = [
    SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=60),
    SamplingParams(temperature=0.7, ignore_eos=True, max_tokens=60, seed=2),
    SamplingParams(temperature=1.5, top_p=0.9, ignore_eos=True, max_tokens=60, seed=3),
    EVERYTHING,
]
# Which slots decode at each step: rows join and leave, so that several sizes are recorded in the middle of sequences.
ROUNDS = [[4], [4], [4, 0, 6], [6, 0, 4], [0, 6], [1, 2, 3, 4, 5, 0, 6], [7, 1, 2, 3, 5, 0, 6, 4], [2]]


@pytest.fixture
def recorder(monkeypatch):
    """Have the backend decode as on CUDA, with recordings, in plain torch."""
    made = Recorder()
    monkeypatch.setattr(torch_backend, "recorder_of", lambda device: made)
    monkeypatch.setattr(torch_backend, "capability_of", lambda device: (7, 0))
    monkeypatch.setattr("samplers.xp.torch._kernels", {})
    monkeypatch.setattr(torch_kernels, "load_kernels", lambda cache_dir: False)
    monkeypatch.setattr(torch_backend, "load_kernels", lambda cache_dir: False)
    return made


@pytest.fixture
def plain(make_backend, monkeypatch):
    """Return a maker of backends that run operation by operation."""

    def make(*arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(torch_backend, "recorder_of", lambda device: None)
            return make_backend(*arguments, **options)

    return make


def prompt_of(slot):
    return random.Random(slot).choices(range(3, VOCAB_SIZE), k=3 + 5 * slot)


def admit_all(backend, params):
    for slot, own in params.items():
        fill(backend, slot, prompt_of(slot), chunk=16)
        backend.admit(slot, prompt_of(slot), own, sample_index=slot)


def test_recorded_steps_draw_what_steps_draw_that_run_operation_by_operation(recorder, make_backend, plain):
    backends = make_backend(), plain()
    for backend in backends:
        admit_all(backend, {slot: PARAMS[slot % len(PARAMS)] for slot in range(8)})
    for _ in range(3):
        for slots in ROUNDS:
            recorded, expected = (backend.decode(slots) for backend in backends)
            assert recorded.token_ids == expected.token_ids
            assert recorded.finite == expected.finite
    for slot in range(8):
        assert backends[0].logits(slot) == pytest.approx(backends[1].logits(slot), abs=1e-4)


def test_a_recording_is_made_once_for_a_size_and_what_it_does(recorder, make_backend):
    backend = make_backend()
    admit_all(backend, {slot: PARAMS[slot % len(PARAMS)] for slot in range(8)})
    for _ in range(3):
        for slots in ([0], [1], [2], [3], [0, 4, 1], [5, 1, 0, 4]):
            backend.decode(slots)
    # One row: draws alone, draws and truncates, does everything; up to four rows: draws alone.
    assert recorder.recordings == 4
    assert (backend.graph_counts.hits, backend.graph_counts.misses) == (14, 4)


def test_several_steps_of_a_call_end_where_sequences_end(recorder, make_backend, plain):
    looped, single = make_backend(), plain()
    assert looped.max_steps == 8
    lengths = {3: 1, 0: 6, 2: 19}
    params = {slot: SamplingParams(seed=slot, max_tokens=most) for slot, most in lengths.items()}
    stops = {**params, 5: SamplingParams(seed=5, max_tokens=40, stop_token_ids=tuple(range(100, 116)))}
    drawn = {}
    for backend in (looped, single):
        admit_all(backend, stops)
        drawn[backend], live = {slot: [] for slot in stops}, list(stops)
        while live:
            steps = backend.decode_steps(live, backend.max_steps)
            assert 1 <= len(steps) <= backend.max_steps
            for step in steps:
                for row, slot in enumerate(live):
                    if not ended(drawn[backend][slot], stops[slot]):
                        drawn[backend][slot].append(step.token_ids[row])
            live = [slot for slot in live if not ended(drawn[backend][slot], stops[slot])]
    assert drawn[looped] == drawn[single]
    assert len(drawn[looped][2]) == 19
    for slot in stops:  # those that ended stayed where they were
        assert looped.logits(slot) == pytest.approx(single.logits(slot), abs=1e-4)


def ended(drawn, params):
    return len(drawn) == params.max_tokens or (bool(drawn) and drawn[-1] in params.stop_ids((2,)))


def test_rows_that_ask_are_described_one_step_a_call(recorder, make_backend, plain):
    asked = SamplingParams(temperature=0.8, top_p=0.9, logprobs=3, measures=True, seed=1, ignore_eos=True)
    steps = []
    for backend in (make_backend(), plain()):
        admit_all(backend, {0: asked, 1: PARAMS[1]})
        steps.append([backend.decode_steps([1, 0], 1)[0] for _ in range(3)])
        assert len(backend.decode_steps([1, 0], backend.max_steps)) == 1
    for recorded, expected in zip(*steps, strict=True):
        assert recorded.token_ids == expected.token_ids
        assert recorded.logprobs[0] is recorded.measures[0] is None
        assert recorded.logprobs[1].logprob == pytest.approx(expected.logprobs[1].logprob, abs=1e-4)
        assert list(recorded.logprobs[1].top_ids) == list(expected.logprobs[1].top_ids)
        assert recorded.measures[1] == pytest.approx(expected.measures[1], abs=1e-3)


def test_a_row_that_is_not_finite_ends_alone(recorder, make_backend):
    def poison(weights):
        weights.embedding[77] = float("nan")
        return weights

    backend = make_backend("llama untied", change=poison)
    for slot, prompt in ((0, [5, 6, 7]), (1, [5, 77, 7])):
        fill(backend, slot, prompt)
        backend.admit(slot, prompt, PARAMS[1])
    first, *others = backend.decode_steps([0, 1], 4)
    assert first.finite == [True, False]
    assert len(others) == 3
    assert all(step.finite[0] for step in others)
    backend.release(1)
    admit_all(backend, {1: PARAMS[1]})
    assert backend.decode([0, 1]).finite == [True, True]


def test_what_cannot_be_recorded_runs_operation_by_operation_and_says_so(
    make_backend, plain, recorder, monkeypatch, caplog
):
    def fail(function):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(torch_backend, "recorder_of", lambda device: fail)
    backends = make_backend(), plain()
    for backend in backends:
        admit_all(backend, {slot: PARAMS[slot] for slot in range(4)})
    for _ in range(3):
        drawn, expected = (backend.decode([2, 0, 3]).token_ids for backend in backends)
        assert drawn == expected
    assert caplog.text.count("could not be recorded") == 1
    assert (backends[0].graph_counts.hits, backends[0].graph_counts.misses) == (0, 3)


def test_nothing_is_recorded_while_functions_may_still_change(recorder, make_backend):
    backend = make_backend()
    backend._compilation = type("Compiling", (), {"settled": False, "run": lambda self, f, *a: f(*a), "close": print})()
    admit_all(backend, {0: PARAMS[0]})
    backend.decode([0])
    assert recorder.recordings == 0
    backend._compilation.settled = True
    backend.decode([0])
    assert recorder.recordings == 1


@pytest.mark.parametrize("num_slots", [1, 2, 3, 8, 32, 33, 256, 300])
def test_any_number_of_rows_has_a_size_that_wastes_little(num_slots):
    sizes = buckets_of(num_slots)
    assert sizes == tuple(sorted(set(sizes)))
    assert sizes[-1] == num_slots
    for rows in range(1, num_slots + 1):
        least = min(size for size in sizes if size >= rows)
        assert least - rows < max(8, rows / 2)


@pytest.mark.parametrize(("weight_bytes", "steps"), [(270e6, 8), (2.5e9, 8), (8e9, 2), (141e9, 1)])
def test_a_call_has_as_many_steps_as_fit_its_time(weight_bytes, steps):
    assert pick_max_steps(weight_bytes) == steps
