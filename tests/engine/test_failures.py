"""Whom a failure concerns: one request, one step, one event loop, or everybody, and that everybody hears of it."""

import asyncio

import pytest

from server.engine.engine import Engine
from server.errors import (
    ContextLengthError,
    InvalidRequestError,
    KelvinError,
    NumericalError,
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
