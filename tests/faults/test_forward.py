"""The N-th call of the backend, or forward of the model, fails: whatever N is, requests end, right or with an error.

For every N each request gets the very tokens that it gets without a fault, or a KelvinError; and after it the engine
takes requests as ever, with no slot lost.
"""

import asyncio
import itertools

import pytest
import torch

from server.backends import torch as torch_backend
from server.errors import KelvinError, NumericalError, OutOfMemoryError, UnavailableError
from tests.engine.driving import collect, generate, params_of, running
from tests.fakes import FakeBackend
from tests.faults.failing import Fault, injected

REQUESTS = [
    ([65, 66, 67, 68, 69, 70, 71, 72, 73, 74], params_of(6, seed=1), 2),
    ([65], params_of(3, seed=2), 1),
    ([66] * 12, params_of(5, seed=3), 3),
    ([67, 68], params_of(4, seed=4, temperature=0.0), 1),
    ([69] * 5, params_of(2, seed=5), 2),
]
METHODS = ("prefill", "copy", "admit", "decode")


def answers(engine, requests=REQUESTS):
    """Submit requests and give what became of each, within a time that only a hang exceeds."""

    async def scenario():
        streams = [engine.submit(prompt, params, n=n) for prompt, params, n in requests]
        async with asyncio.timeout(20):
            return await asyncio.gather(*map(collect, streams), return_exceptions=True)

    return asyncio.run(scenario())


def sweep(make, requests, target_of, names, error, expected):
    """Run all requests for each N until there is no N-th call; give how many requests each of the faults failed."""
    failed = []
    while True:
        at = len(failed) + 1
        backend = make()
        with running(backend) as engine, injected(target_of(backend), names, Fault(at, error)) as fault:
            outcomes = answers(engine, requests)
            struck, fault.at = fault.struck, None
            assert engine.num_running == engine.num_waiting == engine.num_waiting_tokens == 0, at
            assert answers(engine, requests) == expected, f"after a fault at call {at}"
        assert all(
            isinstance(got, KelvinError) or got == wanted for got, wanted in zip(outcomes, expected, strict=True)
        ), at
        if not struck:
            assert outcomes == expected
            return failed
        failed.append(sum(isinstance(outcome, KelvinError) for outcome in outcomes))


@pytest.mark.parametrize("error", [RuntimeError("secret"), MemoryError(), ValueError("secret")], ids=type)
def test_every_call_of_the_backend_may_fail_once(error):
    def make():
        return FakeBackend(num_slots=4, prefill_chunk=8)

    with running(make()) as engine:
        expected = answers(engine)
    failed = sweep(make, REQUESTS, lambda backend: backend, METHODS, error, expected)
    assert len(failed) > 20
    assert max(failed) == 1, "no fault ever fails more than one request"


@pytest.fixture(autouse=True)
def _without_kernels(monkeypatch):
    """Leave Kelvin's kernels out: to compile them takes longer than all of this."""
    monkeypatch.setattr(torch_backend, "load_kernels", lambda cache_dir: False)


@pytest.mark.parametrize("error", [RuntimeError("secret"), torch.OutOfMemoryError("secret")], ids=type)
def test_every_forward_of_a_model_may_fail_once(make_backend, error):
    requests = [
        ([5, 6, 7, 8], params_of(4, seed=1, ignore_eos=True), 2),
        ([9], params_of(3, seed=2, repetition_penalty=1.3, ignore_eos=True), 1),
        ([5, 6, 7, 11, 12], params_of(4, seed=3, top_p=0.9, ignore_eos=True), 1),
    ]
    backend = make_backend(num_slots=4)
    with running(UngatedBackend(backend)) as engine:
        expected = answers(engine, requests)
    failed = sweep(
        lambda: UngatedBackend(backend),
        requests,
        lambda shared: type(shared.backend._decoder),
        ("forward",),
        error,
        expected,
    )
    assert len(failed) >= 5
    assert max(failed) <= 1


def test_logits_that_are_not_finite_fail_their_row_alone_at_every_step(make_backend):
    """A NaN in one row of a forward's logits: its request fails, and the others get the same bits as without."""
    requests = [([5 + row, 6, 7], params_of(5, seed=row, ignore_eos=True), 1) for row in range(4)]
    backend = make_backend(num_slots=4)
    with running(UngatedBackend(backend)) as engine:
        expected = answers(engine, requests)
    logits_of = backend._decoder.logits
    for step, row, value in itertools.product((1, 3), range(2), (float("nan"), float("inf"))):
        count = 0

        def poisoned(x, step=step, row=row, value=value):
            nonlocal count
            logits, count = logits_of(x), count + 1
            if count == step:
                logits[row, 17] = value
            return logits

        backend._decoder.logits = poisoned
        with running(UngatedBackend(backend)) as engine:
            outcomes = answers(engine, requests)
            assert engine.counts.not_finite == 1
        backend._decoder.logits = logits_of
        failed = [outcome for outcome in outcomes if isinstance(outcome, NumericalError)]
        assert len(failed) == 1
        assert all(got in (wanted, failed[0]) for got, wanted in zip(outcomes, expected, strict=True))


def test_an_error_in_giving_a_slot_back_ends_the_engine_and_all_who_wait_are_told():
    backend = FakeBackend(num_slots=2)
    with running(backend) as engine, injected(backend, ("release",), Fault(1, RuntimeError("secret"))):
        outcomes = answers(engine)
        assert not engine.alive
    assert any(isinstance(outcome, UnavailableError) for outcome in outcomes)
    assert all(isinstance(outcome, UnavailableError | list) for outcome in outcomes)


def test_a_backend_that_never_has_memory_fails_every_request_and_lives_on():
    backend = FakeBackend()
    backend.decode_error = MemoryError()
    with running(backend) as engine:
        assert all(isinstance(outcome, OutOfMemoryError) for outcome in answers(engine))
        backend.decode_error = None
        assert generate(engine, ([65], params_of(2), 1))[0][0][1] == "length"


class UngatedBackend:
    """A backend that several engines use, one after another, and that none of them closes."""

    gated = False

    def __init__(self, backend):
        self.backend = backend

    def __getattr__(self, name):
        return getattr(self.backend, name)
