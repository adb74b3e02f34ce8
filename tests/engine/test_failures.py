"""Whom a failure concerns: one request, one step, one event loop, or everybody, and that everybody hears of it."""

import asyncio

import pytest

from server.engine.engine import Engine
from server.errors import (
    ContextLengthError,
    InvalidRequestError,
    KelvinError,
    NumericalError,
    OutOfMemoryError,
    OverloadedError,
    UnavailableError,
)
from tests.engine.driving import collect, expected, generate, params_of, running
from tests.fakes import FakeBackend, wait_until


def test_the_queue_takes_exactly_its_limit():
    backend = FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        running = engine.submit([1], params_of(2))
        wait_until(lambda: engine.num_running == 1)
        engine.submit([1], params_of(1), n=2)
        with pytest.raises(OverloadedError) as refused:
            engine.submit([1], params_of(1), n=2)
        assert refused.value.retry_after_s >= 1
        engine.submit([1], params_of(1), n=1)
        with pytest.raises(OverloadedError):
            engine.submit([1], params_of(1), n=1)
        assert engine.num_waiting == 3
        backend.allow(10)
        await collect(running)
        wait_until(lambda: engine.num_waiting == 0)
        assert len(await collect(engine.submit([1], params_of(1), n=3))) == 3

    with running(backend, queue_limit=3) as engine:
        asyncio.run(scenario(engine))


@pytest.mark.parametrize("poisoned", [0, 1, 2])
def test_a_prompt_that_the_backend_chokes_on_fails_alone(poisoned):
    backend = FakeBackend(prefill_chunk=64, gated=True)
    backend.poison = 99
    prompts = [[1, 2, 99 if index == poisoned else 3, 4] for index in range(3)]

    async def scenario(engine):
        held = engine.submit([5], params_of(1))  # so that the three meet in one prefill
        streams = [engine.submit(prompt, params_of(2)) for prompt in prompts]
        backend.allow(10)
        await collect(held)
        return await asyncio.gather(*map(collect, streams), return_exceptions=True)

    with running(backend) as engine:
        answers = asyncio.run(scenario(engine))
        assert engine.num_running == 0
    for index, answer in enumerate(answers):
        if index == poisoned:
            assert isinstance(answer, KelvinError)
            assert answer.code == "internal_error"
        else:
            assert answer == [(expected(prompts[index], params_of(2), 0), "length")]


def test_a_failed_decode_step_fails_who_took_part_and_nobody_later():
    backend = FakeBackend()
    with running(backend) as engine:
        backend.decode_error = MemoryError("no more")
        answers = generate(engine, ([1], params_of(), 1), ([2], params_of(), 2))
        assert all(isinstance(answer, KelvinError) for answer in answers)
        assert "no more" not in answers[0].message
        assert engine.num_running == 0
        backend.decode_error = None
        assert generate(engine, ([1], params_of(), 1))[0][0][1] == "length"


class TorchMemoryError(RuntimeError):
    """What torch raises, known to the engine by its name alone."""


TorchMemoryError.__name__ = "OutOfMemoryError"


class Choking(FakeBackend):
    """Raises in every step that a prompt takes part in, or that has more samples than there is memory for."""

    def __init__(self, *, poisoned=(), most=99, error=None, **options):
        super().__init__(**options)
        self.poisoned, self.most, self.error = poisoned, most, error or RuntimeError("secret")

    def decode(self, slots):
        if len(slots) > self.most or any(self._running[slot].prompt_ids in self.poisoned for slot in slots):
            self.calls.append(("failed", tuple(slots)))
            raise self.error
        return super().decode(slots)


def started_together(engine, backend, *requests):
    """Submit requests whose samples all meet in one step."""

    async def scenario():
        held = engine.submit([9], params_of(1))
        wait_until(lambda: engine.num_running == 1)
        streams = [engine.submit(prompt, params, n=n) for prompt, params, n in requests]
        backend.allow(1000)
        await collect(held)
        return await asyncio.gather(*map(collect, streams), return_exceptions=True)

    return asyncio.run(scenario())


@pytest.mark.parametrize("poisoned", [[0], [3], [7], [0, 7], [2, 3, 4], list(range(8))])
def test_a_request_that_a_step_chokes_on_fails_alone_whichever_it_is(poisoned):
    prompts = [(65 + index,) for index in range(8)]
    backend = Choking(poisoned=[prompts[index] for index in poisoned], num_slots=8, gated=True)
    with running(backend) as engine:
        answers = started_together(engine, backend, *((prompt, params_of(5), 1) for prompt in prompts))
        assert engine.num_running == 0
        assert engine.alive
    for index, answer in enumerate(answers):
        if index in poisoned:
            assert isinstance(answer, KelvinError)
            assert "secret" not in answer.message
        else:
            assert answer == [(expected(prompts[index], params_of(5), 0), "length")]


def test_the_samples_of_a_request_that_a_step_chokes_on_fail_together():
    backend = Choking(poisoned=[(66,)], num_slots=8, gated=True)
    with running(backend) as engine:
        good, bad, also_good = started_together(
            engine, backend, ([65], params_of(5), 2), ([66], params_of(5), 3), ([67], params_of(5), 3)
        )
        assert isinstance(bad, KelvinError)
        assert good == [(expected([65], params_of(5), sample), "length") for sample in range(2)]
        assert also_good == [(expected([67], params_of(5), sample), "length") for sample in range(3)]


@pytest.mark.parametrize("error", [MemoryError(), TorchMemoryError("secret"), RuntimeError("can't allocate memory")])
@pytest.mark.parametrize("most", [1, 3, 5])
def test_without_memory_the_newest_requests_fail_and_the_oldest_go_on(error, most):
    prompts = [(65 + index,) for index in range(6)]
    backend = Choking(most=most, error=error, num_slots=8, gated=True)
    with running(backend) as engine:
        answers = started_together(engine, backend, *((prompt, params_of(5), 1) for prompt in prompts))
        assert generate(engine, ([65], params_of(2), 1))[0][0][1] == "length"
    assert answers[:most] == [[(expected(prompt, params_of(5), 0), "length")] for prompt in prompts[:most]]
    assert all(isinstance(answer, OutOfMemoryError) for answer in answers[most:])


def test_without_memory_for_a_prompt_the_newest_fails_and_the_others_are_read_again():
    backend = FakeBackend(prefill_chunk=64, gated=True)
    read = backend.prefill

    def prefill(pieces):
        if len(pieces) > 2:
            raise MemoryError
        read(pieces)

    backend.prefill = prefill
    with running(backend) as engine:
        one, two, three = started_together(engine, backend, *(([1, seed], params_of(3), 1) for seed in (1, 2, 3)))
    assert one == [(expected([1, 1], params_of(3), 0), "length")]
    assert two == [(expected([1, 2], params_of(3), 0), "length")]
    assert isinstance(three, OutOfMemoryError)


def test_a_step_that_failed_half_way_is_not_tried_again():
    backend = Choking(poisoned=[(66,)], gated=True)
    backend.unmoved = False
    with running(backend) as engine:
        answers = started_together(engine, backend, ([65], params_of(5), 1), ([66], params_of(5), 1))
        assert all(isinstance(answer, KelvinError) for answer in answers)
        assert backend.count("failed") == 1
        assert generate(engine, ([65], params_of(2), 1))[0][0][1] == "length"


def test_a_draw_that_cannot_be_read_fails_its_request_alone():
    backend = FakeBackend(gated=True)
    draw = backend.decode

    def decode(slots):
        drawn = draw(slots)
        for row, slot in enumerate(slots):
            if backend._running[slot].prompt_ids == (66,):
                drawn.token_ids[row] = []  # no token id, and not to be looked up
        return drawn

    backend.decode = decode
    with running(backend) as engine:
        good, bad = started_together(engine, backend, ([65], params_of(5), 1), ([66], params_of(5), 1))
        assert good == [(expected([65], params_of(5), 0), "length")]
        assert isinstance(bad, KelvinError)


def test_a_row_that_is_not_finite_fails_its_request_and_no_other():
    backend = FakeBackend()
    backend.not_finite = lambda prompt_ids, step: prompt_ids == (66,) and step == 2
    with running(backend) as engine:
        good, bad, also_good = generate(
            engine, ([65], params_of(5), 1), ([66], params_of(5), 2), ([67], params_of(5), 1)
        )
        assert isinstance(bad, NumericalError)
        assert good == [(expected([65], params_of(5), 0), "length")]
        assert also_good == [(expected([67], params_of(5), 0), "length")]
        assert engine.num_running == 0


def test_a_stopped_engine_fails_what_runs_and_refuses_the_rest():
    backend = FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        streams = [engine.submit([1], params_of(50)), engine.submit([1], params_of(50))]
        backend.allow()
        await anext(streams[0])
        backend.allow()  # the step in which the engine stops
        engine.stop()
        for stream in streams:
            with pytest.raises(UnavailableError):
                await collect(stream)
        with pytest.raises(UnavailableError):
            engine.submit([1], params_of())
        with pytest.raises(UnavailableError):
            await engine.logits([1])

    engine = Engine(backend)
    engine.start()
    assert engine.alive
    asyncio.run(scenario(engine))
    assert not engine.alive


def test_when_the_thread_dies_everybody_hears_of_it_even_who_has_just_come(monkeypatch):
    backend = FakeBackend(gated=True)
    monkeypatch.setattr(backend, "release", lambda slot: 1 / 0)

    async def scenario(engine):
        ending = engine.submit([1], params_of(1))
        running = engine.submit([1], params_of(9))
        wait_until(lambda: engine.num_running == 2)
        just_come = engine.submit([1], params_of(1))
        backend.allow()
        assert (await collect(ending))[0][1] == "length"
        for stream in (running, just_come):
            with pytest.raises(UnavailableError):
                async with asyncio.timeout(5):
                    await collect(stream)

    engine = Engine(backend)
    engine.start()
    asyncio.run(scenario(engine))
    wait_until(lambda: not engine.alive)


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "error", "param"),
    [
        ([], 1, InvalidRequestError, "prompt"),
        ([0, 258], 1, InvalidRequestError, "prompt"),
        ([-1], 1, InvalidRequestError, "prompt"),
        ([0] * 32, 33, ContextLengthError, "max_tokens"),
        ([0] * 64, 1, ContextLengthError, "prompt"),
        ([0], 2**31 - 1, ContextLengthError, "max_tokens"),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_queued(prompt, max_tokens, error, param):
    async def scenario(engine):
        with pytest.raises(error) as refused:
            engine.submit(prompt, params_of(max_tokens))
        assert refused.value.param == param

    with running(FakeBackend(max_length=64)) as engine:
        asyncio.run(scenario(engine))


def test_a_closed_event_loop_costs_its_own_requests_alone():
    backend = FakeBackend(gated=True)

    async def leave(engine):
        engine.submit([1], params_of(50))
        wait_until(lambda: engine.num_running == 1)

    with running(backend) as engine:
        asyncio.run(leave(engine))
        backend.allow(2)
        wait_until(lambda: engine.num_running == 0)
        backend.allow(50)
        assert generate(engine, ([1], params_of(2), 1))[0][0][1] == "length"
