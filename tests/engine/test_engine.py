"""The engine over a backend that checks every call: who shares, who ends when, who never notices."""

import asyncio
import itertools

import pytest

from server.engine.request import Prompt
from server.errors import NumericalError
from tests.engine.driving import collect, expected, generate, params_of, running
from tests.fakes import EOS, FakeBackend, says, wait_until


def test_a_sample_is_what_the_backend_drew_for_its_prompt_seed_and_number():
    params = params_of(9, seed=3)
    with running(FakeBackend()) as engine:
        [samples] = generate(engine, (range(5), params, 3))
    assert samples == [(expected(range(5), params, index), "length") for index in range(3)]


def test_neither_neighbours_nor_the_order_of_arrival_change_a_sample():
    requests = [(range(1 + 5 * i), params_of(2 + i, seed=i), 1 + i % 3) for i in range(5)]
    for order in itertools.islice(itertools.permutations(requests), 0, 120, 17):
        with running(FakeBackend(num_slots=3)) as engine:
            answers = generate(engine, *order)
        for (prompt, params, n), samples in zip(order, answers, strict=True):
            assert samples == [(expected(prompt, params, index), "length") for index in range(n)]


def test_a_long_prompt_is_prefilled_in_chunks_between_the_steps_of_others():
    backend = FakeBackend(prefill_chunk=4, gated=True)

    async def scenario(engine):
        short = engine.submit([1], params_of(20))
        backend.allow()
        await anext(short)
        long = engine.submit(range(18), params_of(1))
        backend.allow(19)
        await collect(long)
        short.cancel()

    with running(backend) as engine:
        asyncio.run(scenario(engine))
    pieces = [piece for call in backend.calls if call[0] == "prefill" for piece in call[1]]
    assert [(position, len(tokens)) for _, position, tokens in pieces] == [(0, 4), (4, 4), (8, 4), (12, 4), (16, 1)]
    kinds = [call[0] for call in backend.calls]
    between = kinds[kinds.index("prefill") : len(kinds) - kinds[::-1].index("prefill")]
    assert between == ["prefill", "decode"] * 4 + ["prefill"]


def test_short_prompts_share_a_chunk():
    backend = FakeBackend(prefill_chunk=8, gated=True)

    async def scenario(engine):
        first = engine.submit([9], params_of(2))  # holds the engine in its step until all have come
        rest = [engine.submit(range(4), params_of(1, seed=seed)) for seed in range(3)]
        backend.allow(50)
        await asyncio.gather(*map(collect, [first, *rest]))

    with running(backend) as engine:
        asyncio.run(scenario(engine))
    sizes = [[len(tokens) for _, _, tokens in call[1]] for call in backend.calls if call[0] == "prefill"]
    assert sizes in ([[3, 3, 2], [1]], [[3], [3, 3]], [[3, 3], [3]])  # the first request may or may not arrive alone


def test_the_samples_of_a_prompt_share_one_prefill():
    backend = FakeBackend(num_slots=4, prefill_chunk=64)
    with running(backend) as engine:
        generate(engine, (range(10), params_of(), 4))
    assert [len(call[1]) for call in backend.calls if call[0] == "prefill"] == [1]
    assert [call[3] for call in backend.calls if call[0] == "copy"] == [9, 9, 9]


def test_more_samples_than_slots_take_the_slots_that_hold_their_prompt():
    backend = FakeBackend(num_slots=2, script=lambda prompt, params, sample: [65] * (sample + 1) + [EOS])
    with running(backend) as engine:
        [samples] = generate(engine, (range(10), params_of(20), 5))
    assert [len(tokens) for tokens, _ in samples] == [2, 3, 4, 5, 6]
    assert {reason for _, reason in samples} == {"stop"}
    assert backend.count("prefill") == 2  # 9 tokens in chunks of 8, once
    assert backend.count("copy") == 1  # to the second slot; from then on both hold the prompt


def test_requests_that_give_the_same_prompt_share_one_prefill():
    backend = FakeBackend(num_slots=3, prefill_chunk=64)
    cold, hot, prompt = params_of(seed=1), params_of(seed=1, temperature=2.0), Prompt(tuple(range(20)))
    with running(backend) as engine:
        outcomes = generate(engine, (prompt, cold, 4), (prompt, hot, 4))
    assert backend.count("prefill") == 1
    wanted = [(expected(prompt.token_ids, cold, sample), "length") for sample in range(4)]
    assert outcomes == [wanted, wanted]  # the fake's tokens depend on seed, prompt and sample alone


def test_a_failing_request_takes_none_with_it_that_shares_its_prompt():
    backend = FakeBackend(num_slots=4)
    prompt = Prompt((65, 66, 67))
    backend.not_finite = lambda prompt_ids, step: step == 1
    with running(backend) as engine:
        (failed, fine) = generate(engine, (prompt, params_of(seed=1), 2), (prompt, params_of(1, seed=2), 2))
    assert isinstance(failed, NumericalError)
    assert fine == [(expected(prompt.token_ids, params_of(1, seed=2), sample), "length") for sample in range(2)]


def test_a_part_of_the_samples_is_drawn_with_their_own_noise():
    async def scenario(engine):
        return await collect(engine.submit([65, 66], params_of(seed=1), n=2, first_sample=3))

    with running(FakeBackend()) as engine:
        drawn = asyncio.run(scenario(engine))
    assert drawn == [(expected([65, 66], params_of(seed=1), sample), "length") for sample in (3, 4)]


def test_measures_come_with_the_tokens_of_those_who_ask():
    async def scenario(engine):
        streams = [engine.submit([65], params_of(2, measures=measures)) for measures in (True, False)]
        return [[len(event.measures) async for event in stream] for stream in streams]

    with running(FakeBackend()) as engine:
        assert asyncio.run(scenario(engine)) == [[1, 1], [0, 0]]


def test_a_prompt_of_one_token_needs_no_prefill():
    backend = FakeBackend()
    with running(backend) as engine:
        generate(engine, ([7], params_of(), 2))
    assert backend.count("prefill") == 0


@pytest.mark.parametrize(
    ("params", "tokens", "reason"),
    [
        (params_of(9), [72, 105, EOS], "stop"),
        (params_of(3), [72, 105, EOS], "stop"),
        (params_of(2), [72, 105], "length"),
        (params_of(9, stop_token_ids=(105,)), [72, 105], "stop"),
        (params_of(5, ignore_eos=True), [72, 105, EOS, EOS, EOS], "length"),
        (params_of(5, ignore_eos=True, stop_token_ids=(EOS,)), [72, 105, EOS], "stop"),
    ],
)
def test_what_ends_a_sample(params, tokens, reason):
    with running(FakeBackend(script=says("Hi"))) as engine:
        assert generate(engine, ([1, 2], params, 1)) == [[(tokens, reason)]]


def test_a_cancelled_sample_frees_its_slot_within_one_step_and_the_others_go_on():
    backend = FakeBackend(gated=True)

    async def scenario(engine):
        stream = engine.submit([1, 2, 3], params_of(6), n=2)
        backend.allow()
        first = [await anext(stream), await anext(stream)]
        stream.cancel(0)
        backend.allow()  # the step that may have begun already
        wait_until(lambda: backend.count("decode") >= 2)
        backend.allow()
        wait_until(lambda: engine.num_running == 1)
        backend.allow(6)
        return first, await collect(stream)

    with running(backend) as engine:
        first, rest = asyncio.run(scenario(engine))
    assert sorted(event.sample for event in first) == [0, 1]
    cancelled, finished = rest
    assert cancelled[1] == "cancelled"
    assert len(cancelled[0]) <= 1
    assert finished[1] == "length"
    assert len(finished[0]) == 5
    steps = [call[1] for call in backend.calls if call[0] == "decode"]
    assert steps[2:] == [(1,)] * 4


def test_a_sample_cancelled_while_it_waits_never_reaches_the_backend():
    backend = FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        first = engine.submit([1], params_of(2))
        waiting = engine.submit(range(5), params_of(2))
        waiting.cancel()
        backend.allow(10)
        assert await collect(waiting) == [([], "cancelled")]
        await collect(first)

    with running(backend) as engine:
        asyncio.run(scenario(engine))
    assert backend.count("prefill") == 0


def test_cancelling_twice_or_too_late_does_nothing():
    async def scenario(engine):
        stream = engine.submit([1], params_of(2))
        result = await collect(stream)
        stream.cancel()
        stream.cancel(0)
        return result

    with running(FakeBackend()) as engine:
        assert len(asyncio.run(scenario(engine))[0][0]) == 2
        assert generate(engine, ([1], params_of(2), 1))[0][0][1] == "length"


def test_a_deadline_ends_running_and_waiting_samples_with_what_they_have():
    now = [0.0]
    backend = FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        stream = engine.submit([1], params_of(50), n=2, timeout_s=5.0)
        backend.allow(3)
        for _ in range(3):
            await anext(stream)
        now[0] = 4.999
        backend.allow()
        await anext(stream)
        now[0] = 5.0
        backend.allow(2)
        return await collect(stream)

    with running(backend, clock=lambda: now[0]) as engine:
        (tokens, reason), (waited, waited_reason) = asyncio.run(scenario(engine))
    assert (reason, waited_reason) == ("timeout", "timeout")
    assert len(tokens) <= 1
    assert waited == []


def test_prompt_and_tokens_may_fill_a_slot_to_its_last_position():
    with running(FakeBackend(max_length=64)) as engine:
        [[(tokens, reason)]] = generate(engine, ([0] * 32, params_of(32), 1))
    assert (len(tokens), reason) == (32, "length")


def test_logits_are_the_backends_own_and_cost_no_token():
    backend = FakeBackend()
    with running(backend) as engine:
        assert asyncio.run(engine.logits(range(12))) == backend.raw_logits
        wait_until(lambda: engine.num_running == 0)
    assert backend.count("decode") == 0
    assert backend.count("release") == 1


def test_whoever_stops_waiting_for_logits_gives_its_place_back():
    backend = FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        holder = engine.submit([1], params_of(3))
        wait_until(lambda: engine.num_running == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await engine.logits([1])
        backend.allow()
        wait_until(lambda: engine.num_waiting == 0)
        backend.allow(5)
        await collect(holder)

    with running(backend) as engine:
        asyncio.run(scenario(engine))
    assert backend.count("admit") == 1


def test_timings_say_where_the_time_went():
    now = [0.0]
    backend = FakeBackend(num_slots=1, gated=True)

    async def scenario(engine):
        holder = engine.submit([1], params_of(1))
        wait_until(lambda: engine.num_running == 1)
        stream = engine.submit([1, 2], params_of(2))
        now[0] = 4.0
        backend.allow()
        await collect(holder)
        wait_until(lambda: backend.count("admit") == 2)
        now[0] = 7.0
        backend.allow(2)
        await collect(stream)
        return stream.timings

    with running(backend, clock=lambda: now[0]) as engine:
        timings = asyncio.run(scenario(engine))
    assert (timings.queue_s, timings.prefill_s, timings.decode_s) == (4.0, 0.0, 3.0)


def test_one_noisy_sample_makes_the_request_noisy():
    async def scenario(engine):
        stream = engine.submit([1], params_of(1))
        await collect(stream)
        return stream.reproducible

    for kind in ("bitwise", "noise"):
        with running(FakeBackend(reproducible=kind)) as engine:
            assert asyncio.run(scenario(engine)) == kind


def steps_of(backend):
    return [call[1:] for call in backend.calls if call[0] == "steps"]


@pytest.mark.parametrize("max_steps", [2, 4, 7])
def test_several_steps_a_call_give_what_one_gives(max_steps):
    requests = [([1, 2], params_of(length, seed=length), n) for length, n in ((1, 1), (6, 2), (9, 1))]
    with running(FakeBackend()) as engine:
        single = generate(engine, *requests)
    backend = FakeBackend(max_steps=max_steps)
    with running(backend) as engine:
        assert generate(engine, *requests) == single
    assert any(drawn > 1 for _, drawn in steps_of(backend))
    assert all(asked == max_steps for asked, _ in steps_of(backend))


def test_a_stop_within_a_call_ends_a_sample_there():
    with running(FakeBackend(script=says("Hi"), max_steps=7)) as engine:
        assert generate(engine, ([1], params_of(20), 1)) == [[([72, 105, 256], "stop")]]


def test_a_call_draws_one_step_while_a_prompt_is_read_or_a_sample_waits_for_a_slot():
    backend = FakeBackend(num_slots=2, prefill_chunk=4, max_steps=4)
    with running(backend) as engine:
        generate(engine, ([1], params_of(6), 1), (range(18), params_of(2), 1), ([1], params_of(8, seed=2), 1))
    waiting = backend.calls[: max(place for place, call in enumerate(backend.calls) if call[0] in ("prefill", "admit"))]
    assert sum(call[0] == "decode" for call in waiting) >= 6
    assert not any(call[0] == "steps" for call in waiting)
    assert (4, 4) in steps_of(backend)


def test_a_row_that_is_not_finite_within_a_call_fails_its_request_and_no_other():
    backend = FakeBackend(max_steps=4)
    backend.not_finite = lambda prompt_ids, step: prompt_ids == (9,) and step == 2
    with running(backend) as engine:
        failed, fine = generate(engine, ([9], params_of(8), 2), ([1], params_of(8), 1))
    assert isinstance(failed, NumericalError)
    assert fine == [(expected([1], params_of(8), 0), "length")]


def test_a_sample_cancelled_within_a_call_is_heard_at_its_end():
    backend = FakeBackend(gated=True, max_steps=4)

    async def scenario(engine):
        stream = engine.submit([1, 2, 3], params_of(40), n=2)
        backend.allow(2)
        wait_until(lambda: backend.count("decode") >= 2)
        stream.cancel(0)  # the first call still has two steps to go
        backend.allow(2)
        wait_until(lambda: engine.num_running == 1 or backend.count("decode") > 4)
        backend.allow(40)
        return await collect(stream)

    with running(backend) as engine:
        cancelled, finished = asyncio.run(scenario(engine))
    assert cancelled == (expected([1, 2, 3], params_of(40), 0)[:4], "cancelled")
    assert finished == (expected([1, 2, 3], params_of(40), 1), "length")
