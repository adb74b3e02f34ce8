"""The budget of prefills: what fits between two steps by what both have taken."""

import asyncio

from server.engine.budget import STRETCH, Budget
from tests.engine.driving import collect, expected, params_of, running
from tests.fakes import FakeBackend


def learned(step_s, token_s, least=8, most=256):
    budget = Budget(least, most)
    budget.stepped(step_s)
    budget.prefilled(100, 100 * token_s)
    return budget


def test_a_prefill_takes_all_it_can_where_nobody_waits_and_little_where_nothing_is_known():
    assert Budget(8, 256).tokens(0, 1) == 256
    assert Budget(8, 256).tokens(3, 2) == 8
    assert learned(1e-3, 1.0).tokens(0, 1) == 256


def test_a_prefill_and_a_step_take_no_longer_than_the_stretch():
    for step_ms, token_ms in ((20, 0.5), (13, 0.8), (42, 0.7), (80, 0.5)):
        tokens = learned(step_ms, token_ms).tokens(3, 2)
        assert tokens % 8 == 0
        assert step_ms + tokens * token_ms <= STRETCH * step_ms < step_ms + (tokens + 8) * token_ms


def test_prompts_that_outnumber_those_who_decode_get_as_much_more_time():
    budget = learned(20.0, 0.5)
    assert [budget.tokens(4, waiting) for waiting in (0, 1, 4, 8, 12, 100)] == [56, 56, 56, 120, 176, 256]


def test_the_least_is_read_however_slow_it_is_and_never_more_than_the_most():
    assert learned(0.01, 1.0).tokens(3, 2) == 8
    assert learned(10.0, 1e-6).tokens(3, 2) == 256
    assert Budget(64, 16).tokens(3, 2) == 16


def test_a_prefill_of_few_tokens_counts_as_one_of_the_least():
    budget = Budget(8, 256)
    budget.stepped(0.02)
    budget.prefilled(1, 0.008)  # a millisecond a token, not eight
    assert budget.tokens(3, 2) == 24


def test_a_single_hiccup_changes_nothing():
    budget = learned(0.02, 0.0005)
    for _ in range(4):
        budget.stepped(0.02)
        budget.prefilled(100, 0.05)
    before = budget.tokens(3, 2)
    budget.stepped(3.0)
    budget.prefilled(100, 9.0)
    assert budget.tokens(3, 2) == before


class TickingBackend(FakeBackend):
    """Takes 20 ms a step and 1 ms a prompt token, by a clock of its own."""

    now_s = 0.0

    def prefill(self, pieces):
        super().prefill(pieces)
        self.now_s += 0.001 * max(self.prefill_least, sum(len(piece.token_ids) for piece in pieces))

    def decode(self, slots):
        self.now_s += 0.02
        return super().decode(slots)


def test_a_long_prompt_gives_way_to_those_who_decode_and_takes_all_when_they_have_ended():
    backend = TickingBackend(num_slots=2, max_length=1200, prefill_chunk=256, prefill_least=8, gated=True)
    long, params = [7] * 1001, params_of(1, seed=3)

    async def scenario(engine):
        short = engine.submit([5] * 9, params_of(10))
        backend.allow()
        await anext(short)  # it decodes, and what prefills and steps take is known
        answer = engine.submit(long, params)
        backend.allow(100)
        return await asyncio.gather(collect(short), collect(answer))

    with running(backend, clock=lambda: backend.now_s) as engine:
        _, answer = asyncio.run(scenario(engine))
    sizes = [sum(len(piece[2]) for piece in call[1]) for call in backend.calls if call[0] == "prefill"][1:]
    beside = [size for size in sizes if size == 24]  # 30 ms allow 30 tokens, in whole eights
    assert 8 <= len(beside) <= 9
    assert sizes[len(beside) :][:2] == [256, 256]
    assert sum(sizes) == 1000
    assert answer == [(expected(long, params, 0), "length")]
