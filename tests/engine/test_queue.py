"""The queue: bounded by samples, by tokens and in time, with an honest word on when to come back."""

import asyncio
import math

import pytest

from server.engine.pace import LONGEST_S, WINDOW_S, Pace
from server.errors import OverloadedError, QueueTimeoutError
from tests.engine.driving import collect, generate, params_of, running
from tests.fakes import FakeBackend, wait_until


def fill(engine, backend, *waiting):
    """Have one sample run and others wait; give the stream of the one."""
    held = engine.submit([1], params_of(2))
    wait_until(lambda: engine.num_running == 1)
    for max_tokens, n in waiting:
        engine.submit([1, 2], params_of(max_tokens), n=n)
    return held


def test_the_queue_takes_exactly_its_tokens():
    backend = FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        fill(engine, backend, (9, 1), (4, 2))
        assert engine.num_waiting_tokens == (2 + 9) + (2 + 4 + 4)
        with pytest.raises(OverloadedError, match="21 tokens wait already and 30 may"):
            engine.submit([1, 2], params_of(8))
        engine.submit([1, 2], params_of(7))
        assert engine.num_waiting_tokens == 30
        with pytest.raises(OverloadedError):
            engine.submit([1], params_of(1))

    with running(backend, queue_tokens=30) as engine:
        asyncio.run(scenario(engine))
        backend.allow(100)
        wait_until(lambda: engine.num_waiting_tokens == engine.num_running == 0)
        assert len(generate(engine, ([1], params_of(8), 3))[0]) == 3


def test_what_ends_while_it_waits_gives_its_tokens_back():
    backend = FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        held = fill(engine, backend)
        stream = engine.submit([1, 2], params_of(9), n=3)
        assert engine.num_waiting_tokens == 29
        stream.cancel(0)
        stream.cancel(2)
        backend.allow(2)
        await collect(held)
        backend.allow(100)
        assert [reason for _, reason in await collect(stream)] == ["cancelled", "length", "cancelled"]

    with running(backend) as engine:
        asyncio.run(scenario(engine))
        assert engine.num_waiting_tokens == 0


def test_a_price_before_encoding_is_refused_as_the_request_would_be_and_an_empty_queue_takes_any():
    backend = FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        engine.require_room(4, 10**9)
        fill(engine, backend, (9, 1))
        engine.require_room(2, 19)
        for samples, tokens in ((3, 1), (1, 20)):
            with pytest.raises(OverloadedError):
                engine.require_room(samples, tokens)

    with running(backend, queue_limit=3, queue_tokens=30) as engine:
        asyncio.run(scenario(engine))


def test_who_waits_too_long_is_told_and_who_runs_is_not():
    now, backend = [0.0], FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        runs = engine.submit([1], params_of(4), n=2, queue_timeout_s=5.0)
        wait_until(lambda: engine.num_running == 1)
        waits = engine.submit([1], params_of(4), n=2, queue_timeout_s=5.0)
        patient = engine.submit([1], params_of(4))
        now[0] = 5.0
        backend.allow(2)  # the step under way, and the next, which ends with what there is to say
        with pytest.raises(QueueTimeoutError) as refused:
            await collect(waits)
        assert refused.value.retry_after_s >= 1
        backend.allow(100)
        assert [reason for _, reason in await collect(runs)] == ["length", "length"]
        assert [reason for _, reason in await collect(patient)] == ["length"]

    with running(backend, clock=lambda: now[0]) as engine:
        asyncio.run(scenario(engine))
        assert engine.num_waiting == engine.num_waiting_tokens == 0


@pytest.mark.parametrize("every_s", [0.05, 0.5, 3.0])
def test_a_steady_queue_is_told_its_own_pace(every_s):
    pace, now = Pace(100.0), 100.0
    for _ in range(math.ceil(5 * WINDOW_S / every_s)):
        now += every_s
        pace.left(now, 1, 40)
    assert pace.seconds_until(now, 4, 0) == pytest.approx(4 * every_s, abs=1.0, rel=0.15)
    assert pace.seconds_until(now, 20, 0) == pytest.approx(20 * every_s, abs=1.0, rel=0.15)
    assert pace.seconds_until(now, 1, 20 * 40) == pytest.approx(20 * every_s, abs=1.0, rel=0.15)


def test_a_queue_that_has_just_begun_is_judged_by_what_it_has_seen():
    pace = Pace(0.0)
    assert pace.seconds_until(0.0, 1, 1) == WINDOW_S
    for step in range(1, 21):
        pace.left(step / 10, 1, 10)
    assert pace.seconds_until(2.0, 50, 0) == pytest.approx(5, abs=1)


def test_the_longer_nothing_moves_the_longer_the_wait_and_never_beyond_what_clients_obey():
    pace = Pace(0.0)
    for step in range(100):
        pace.left(float(step), 1, 1)
    waits = [pace.seconds_until(now, 10, 0) for now in (100.0, 110.0, 130.0, 1e4, 1e9)]
    assert waits == sorted(waits)
    assert waits[0] < waits[2]
    assert waits[-1] == LONGEST_S
    assert pace.seconds_until(99.0, 0, 0) == 1


def test_a_refusal_names_the_pace_of_the_queue():
    now, backend = [0.0], FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        streams = [engine.submit([1], params_of(1)) for _ in range(20)]
        for stream in streams:  # one leaves the queue every 4 s
            now[0] += 4.0
            backend.allow()
            await collect(stream)
        for _ in range(3):
            engine.submit([1], params_of(1))
        with pytest.raises(OverloadedError) as refused:
            engine.submit([1], params_of(1), n=19)
        return refused.value.retry_after_s

    with running(backend, queue_limit=20, clock=lambda: now[0]) as engine:
        assert 3 <= asyncio.run(scenario(engine)) <= 12
