"""The compiled step of CUDA: ready in the background, equal to the eager one, few programs, no harm where it fails.

Without a GPU: the backend takes the way of CUDA on a CPU, and Dynamo's programs run as traced, without a compiler.
"""

import pytest
import torch

from samplers.params import SamplingParams
from samplers.xp import torch as xp_torch
from server.backends import cpu_library, torch_compile, torch_kernels
from server.backends import torch as torch_backend
from server.backends.torch_kernels import load_kernels
from tests.backends.conftest import fill

PROMPTS = [[5, 6, 7], [9], [8] * 40, [3, 4] * 9, [100, 50, 25]]
PARAMS = [
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=0.7, seed=1),
    SamplingParams(temperature=1.5, top_p=0.9, seed=2),
    SamplingParams(top_k=5, min_p=0.05, seed=3),
    SamplingParams(logit_bias={7: 2.0}, min_tokens=3, seed=4),
]


def texts(backend, count):
    for slot in range(count):
        fill(backend, slot, PROMPTS[slot])
        backend.admit(slot, PROMPTS[slot], PARAMS[slot])
    return [backend.decode(range(count)).token_ids for _ in range(12)]


@pytest.fixture
def as_on_cuda(monkeypatch):
    def record(function):
        raise RuntimeError("recordings are for CUDA")

    def programs_as_traced(function, *, fullgraph, dynamic, options):
        return compile_(function, fullgraph=fullgraph, dynamic=dynamic, backend="eager")

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", programs_as_traced)
    monkeypatch.setattr(torch_backend, "recorder_of", lambda device: record)
    monkeypatch.setattr(torch_backend, "capability_of", lambda device: (7, 0))
    monkeypatch.setattr(torch_backend, "load_kernels", lambda cache_dir: False)
    monkeypatch.setattr(xp_torch, "_kernels", {})
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


@pytest.fixture
def compiled(as_on_cuda, make_backend):
    backend = make_backend(compile=True)
    assert backend.wait_until_compiled(timeout_s=300)
    return backend


def test_the_compiled_step_draws_what_the_eager_one_draws_and_is_ten_programs(compiled, make_backend):
    eager = make_backend()
    for count in (1, 2, 3, 5, 4, 1):
        assert texts(compiled, count) == texts(eager, count)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 10
    assert compiled.compile_events == {"compiled": 10}


def test_two_models_of_one_process_are_both_compiled(compiled, make_backend):
    other = make_backend("gpt2", compile=True)
    assert other.wait_until_compiled(timeout_s=300)
    assert texts(other, 3) == texts(make_backend("gpt2"), 3)
    assert texts(compiled, 3) == texts(make_backend(), 3)


def test_a_step_that_cannot_be_compiled_stays_eager_and_says_so(as_on_cuda, make_backend, monkeypatch, caplog):
    def fail(self, program):
        raise RuntimeError("no room on the disk")

    monkeypatch.setattr(torch_compile.Compilation, "_compile", fail)
    backend = make_backend(compile=True)
    assert not backend.wait_until_compiled(timeout_s=60)
    assert "it stays eager" in caplog.text
    assert backend.compile_events == {"failed": 1}
    assert texts(backend, 3) == texts(make_backend(), 3)


def test_a_step_that_no_program_fits_runs_eagerly_and_says_so(compiled, make_backend, caplog):
    expected = texts(make_backend(), 3)
    torch.use_deterministic_algorithms(True)  # what no program was made for
    try:
        drawn = texts(compiled, 3)
    finally:
        torch.use_deterministic_algorithms(False)
    assert "does not fit" in caplog.text
    assert drawn == expected


def test_on_cpu_nothing_is_compiled_later(make_backend, cache_dir):
    if not load_kernels(cache_dir):
        pytest.skip("no C++ compiler here")
    backend = make_backend(compile=True)
    assert backend.compiled_share == 1
    assert backend.wait_until_compiled(timeout_s=0)
    assert backend.compile_events == {}
    assert backend.admit(0, [5, 6], SamplingParams()) == "bitwise"


def test_without_a_compiler_the_backend_is_plain_and_says_so_once(make_backend, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cpu_library.shutil, "which", lambda name: None)
    torch_kernels.load_kernels.cache_clear()
    try:
        backend = make_backend(compile=True, cache_dir=tmp_path)
        make_backend(compile=True, cache_dir=tmp_path)
    finally:
        torch_kernels.load_kernels.cache_clear()
    assert caplog.text.count("install g++ and restart") == 1
    assert backend.admit(0, [5], SamplingParams()) == "noise"
    assert backend.decode([0]).finite == [True]


def test_a_second_cache_folder_in_one_process_does_no_harm(make_backend, cache_dir, tmp_path):
    if not load_kernels(cache_dir):
        pytest.skip("no C++ compiler here")
    assert load_kernels(tmp_path)
    assert texts(make_backend(cache_dir=tmp_path), 2) == texts(make_backend(), 2)


def test_a_build_that_fails_is_reported_with_the_compilers_words(tmp_path, monkeypatch, caplog):
    broken = tmp_path / "sources"
    broken.mkdir()
    (broken / "broken.cpp").write_text("this is no C++;")
    monkeypatch.setattr(torch_kernels, "_SOURCES", broken)
    monkeypatch.setattr(torch_kernels, "_loaded", lambda: False)
    torch_kernels.load_kernels.cache_clear()
    try:
        assert not torch_kernels.load_kernels(tmp_path / "cache")
    finally:
        torch_kernels.load_kernels.cache_clear()
    assert "error" in caplog.text
    assert not list((tmp_path / "cache" / "kernels").iterdir())
