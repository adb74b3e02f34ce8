"""The frameworks under test, and rows of sampling parameters."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch._dynamo.testing import CompileCounterWithBackend

from samplers import chain
from samplers.noise import threefry
from samplers.params import SamplingParams
from samplers.row import state_row
from samplers.state import SamplingState, neutral_state
from samplers.xp import torch as xp_torch
from server.backends.torch_kernels import load_kernels, sampler_kernels

PROMPT = (1, 2, 3)
LAWS = settings(
    deadline=None,
    derandomize=True,  # a law that fails must fail for everybody
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `xp` is the same for all examples
)


@dataclass(frozen=True)
class Framework:
    """One of the array frameworks; takes NumPy arrays, and gives NumPy arrays back."""

    name: str
    asarray: Callable[[np.ndarray], Any]
    compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function

    def __call__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function of the samplers on this framework's arrays."""
        with np.errstate(over="ignore", invalid="ignore"):  # overflow to inf is meant, and NaN marks the row
            return self._host(self.compiled(function)(*map(self._device, arguments), **options))

    def sample(self, logits: np.ndarray, state: SamplingState, **options: Any) -> chain.Sampled:
        return self(chain.sample, logits, state, **options)

    def distance(self, logits: np.ndarray, state: SamplingState) -> np.ndarray:
        """Return the distances that the draw sees; inf where a token may not be drawn."""
        return self(distance, logits, state)

    def kept(self, logits: np.ndarray, state: SamplingState) -> np.ndarray:
        return np.isfinite(self.distance(logits, state))

    def _device(self, value: Any) -> Any:
        if isinstance(value, SamplingState):
            return SamplingState(*(self._device(getattr(value, field.name)) for field in fields(value)))
        return self.asarray(value) if isinstance(value, np.ndarray) else value

    def _host(self, value: Any) -> Any:
        if is_dataclass(value):
            return type(value)(*(self._host(getattr(value, field.name)) for field in fields(value)))
        return tuple(map(np.asarray, value)) if isinstance(value, tuple) else np.asarray(value)


def distance(logits: Any, state: SamplingState) -> Any:
    processed = chain.process(logits, state)
    return chain.draw(processed, state).kept.tempered(chain.distance_from_best(processed))


def leaves_of(value: Any) -> Iterator[Any]:
    """Yield the arrays within dataclasses and tuples."""
    if is_dataclass(value):
        value = tuple(getattr(value, field.name) for field in fields(value))
    if isinstance(value, tuple):
        for item in value:
            yield from leaves_of(item)
    else:
        yield value


def refilled(value: Any, leaves: Iterator[Any]) -> Any:
    """Build the like of a value with other arrays."""
    if is_dataclass(value):
        return type(value)(*(refilled(getattr(value, field.name), leaves) for field in fields(value)))
    return tuple(refilled(item, leaves) for item in value) if isinstance(value, tuple) else next(leaves)


def compiled_by_xla(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function; tf.function knows no dataclasses, so that their arrays are passed one by one."""
    import tensorflow as tf

    def call(*arguments: Any, **options: Any) -> Any:
        made: list[Any] = []

        @tf.function(jit_compile=True, autograph=False)
        def program(leaves: list[Any]) -> list[Any]:
            made.append(function(*refilled(arguments, iter(leaves)), **options))
            return list(leaves_of(made[0]))

        results = program(list(leaves_of(arguments)))
        return refilled(made[0], iter(results))

    return call


NUMPY = Framework("numpy", lambda array: array)
TORCH = Framework("torch", torch.from_numpy)


def tensorflow(*, xla: bool) -> Framework:
    """Return TensorFlow, eager or compiled; skips where it is not installed."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")
    if xla:
        return Framework("XLA", tf.convert_to_tensor, compiled_by_xla)
    return Framework("tensorflow", tf.convert_to_tensor)


def dynamic(array: np.ndarray) -> torch.Tensor:
    """Make a tensor whose number of rows is no part of a program compiled for it."""
    tensor = torch.from_numpy(array)
    torch._dynamo.mark_dynamic(tensor, 0)
    return tensor


DYNAMIC = Framework("torch, rows dynamic", dynamic)


@pytest.fixture(autouse=True)
def threads() -> Iterator[Callable[[int], None]]:
    """Keep torch to one thread, which waits for nobody on a busy machine; returns a switch for tests that need more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cpu_kernels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build the CPU kernels, or skip."""
    loaded = hasattr(torch.ops.kelvin, "draw")  # operators can be registered once in a process
    if not loaded and not load_kernels(tmp_path_factory.mktemp("kernels")):
        pytest.skip("the CPU kernels cannot be built here")
    return torch.ops.kelvin


@pytest.fixture
def choose_kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a switch: torch with the CPU kernels, or without."""

    def choose(wanted: bool) -> None:
        kernels = request.getfixturevalue("cpu_kernels") if wanted else None
        monkeypatch.setattr(xp_torch, "_kernels", {})
        if kernels is not None:
            xp_torch.use_kernels(sampler_kernels())

    return choose


@pytest.fixture(params=["plain", "kernels"])
def torch_path(request: pytest.FixtureRequest, choose_kernels: Callable[[bool], None]) -> str:
    """Run a test of torch with its own operations, and again with the CPU kernels."""
    choose_kernels(request.param == "kernels")
    return request.param


@pytest.fixture(params=["numpy", "torch", "torch with kernels", "tensorflow"])
def xp(request: pytest.FixtureRequest, choose_kernels: Callable[[bool], None]) -> Framework:
    """Run a test on NumPy, on torch, on torch with the CPU kernels, and on TensorFlow."""
    choose_kernels(request.param == "torch with kernels")
    if request.param == "tensorflow":
        return tensorflow(xla=False)
    return NUMPY if request.param == "numpy" else TORCH


@pytest.fixture(scope="session")
def programs() -> CompileCounterWithBackend:
    """Count the programs that `compiled_step` is compiled to."""
    return CompileCounterWithBackend("aot_eager")


@pytest.fixture
def compiled_step(
    choose_kernels: Callable[[bool], None], programs: CompileCounterWithBackend
) -> Callable[..., tuple[np.ndarray, ...]]:
    """Compile `step` without kernels, as the backend does on CUDA: rows are dynamic, parameters are data."""
    choose_kernels(False)
    compiled = torch.compile(step, fullgraph=True, backend=programs)
    return lambda *arguments: DYNAMIC(compiled, *arguments)


def step(logits: Any, state: SamplingState) -> tuple[Any, ...]:
    """Draw; returns tokens, finite, and the words of the first token's noise."""
    sampled = chain.sample(logits, state)
    words = threefry(state.key0, state.key1, state.step, state.step * 0)
    return sampled.token_ids, sampled.finite, *words


def rows_of(
    params: Sequence[SamplingParams],
    vocab_size: int,
    *,
    eos: Iterable[int] = (),
    prompt: Sequence[int] = PROMPT,
    generated: Sequence[int] = (),
    step: int = 0,
    max_length: int = 64,
) -> SamplingState:
    """Make a state of one row for each of the parameters; row i is the request's sample i."""
    eos = tuple(eos)
    state = neutral_state(len(params), vocab_size, len(eos), max_length)
    given = {"prompt_ids": prompt, "generated_ids": generated, "eos_token_ids": eos, "like": state}
    for i, row in enumerate(params):
        made = state_row(row, sample_index=i, **given)
        for field in fields(SamplingState):
            getattr(state, field.name)[i] = getattr(made, field.name)[0]
    return replace(state, step=state.step + np.int32(step))


def chi_square_z(observed: np.ndarray, expected: np.ndarray) -> float:
    """Return how many standard deviations a chi-square statistic lies too high (Wilson and Hilferty 1931)."""
    freedom = observed.size - 1
    statistic = float(((observed - expected) ** 2 / expected).sum())
    variance = 2.0 / (9.0 * freedom)
    return float(((statistic / freedom) ** (1 / 3) - (1.0 - variance)) / variance**0.5)


def random_logits(rows: int, vocab_size: int, seed: int = 0, scale: float = 3.0) -> np.ndarray:
    """Draw logits in steps of 1/1024, so that float32 adds and subtracts them without rounding."""
    logits = np.random.default_rng(seed).normal(0.0, scale, (rows, vocab_size))
    return (np.round(logits * 1024) / 1024).astype(np.float32)
