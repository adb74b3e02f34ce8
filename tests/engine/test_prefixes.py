"""Prefixes between requests: what is shared, with whom, and that nobody's tokens are others for it."""

import asyncio
import random

import pytest

from server.engine import prefixes
from server.engine.prefixes import BLOCK, Prefixes
from server.engine.request import Prompt
from tests.engine.driving import collect, expected, params_of, running
from tests.fakes import FakeBackend

ANN, BOB = b"ann", b"bob"


def tokens(count, seed=0):
    return tuple(random.Random(seed).choices(range(200), k=count))


def ask(engine, *requests):
    """Send (prompt, owner) one after another, check the tokens, and return what each had computed and copied."""
    backend = engine.backend

    async def scenario():
        work = []
        for prompt, owner in requests:
            before, params = len(backend.calls), params_of(2, seed=5)
            assert await collect(engine.submit(prompt, params, owner=owner)) == [
                (expected(prompt, params, 0), "length")
            ]
            calls = backend.calls[before:]
            computed = sum(len(piece[2]) for call in calls if call[0] == "prefill" for piece in call[1])
            work.append((computed, [call[3] for call in calls if call[0] == "copy"]))
        return work

    return asyncio.run(scenario())


def test_the_longest_beginning_in_whole_blocks_is_found_for_the_same_owner_alone():
    found = Prefixes()
    beginning = tokens(3 * BLOCK)
    found.keep(4, Prompt(beginning[: BLOCK + 1] + tokens(40, 1), ANN))
    found.keep(2, Prompt(beginning + tokens(40, 2), ANN))
    longer = beginning + tokens(9, 3)
    assert found.find(Prompt(longer, ANN)) == (2, 3 * BLOCK)
    assert found.find(Prompt(longer[: 2 * BLOCK + 5], ANN)) == (2, 2 * BLOCK)
    assert found.find(Prompt(longer[:BLOCK], ANN)) is None  # its last token is not prefilled, so not a whole block
    assert found.find(Prompt(tokens(1, 9) + longer, ANN)) is None
    for stranger in (BOB, b"", None):
        assert found.find(Prompt(longer, stranger)) is None
    found.drop(2)
    assert found.find(Prompt(longer, ANN)) == (4, BLOCK)
    found.drop(4)
    assert found.find(Prompt(longer, ANN)) is None
    assert not found._slots


def test_what_has_no_owner_is_kept_for_nobody():
    found = Prefixes()
    found.keep(0, Prompt(tokens(50)))
    assert found.find(Prompt(tokens(50))) is None


def test_equal_names_of_other_tokens_or_owners_share_nothing(monkeypatch):
    monkeypatch.setattr(prefixes, "_chain", lambda prompt: iter([7] * (prompt.num_prefill // BLOCK)))
    found = Prefixes()
    found.keep(0, Prompt(tokens(50, 1), ANN))
    assert found.find(Prompt(tokens(50, 2), ANN)) is None
    assert found.find(Prompt(tokens(50, 1), BOB)) is None
    assert found.find(Prompt(tokens(50, 1), ANN)) == (0, 3 * BLOCK)


def test_a_prompt_begins_with_what_another_slot_holds():
    beginning = tokens(64)
    first, second = beginning + tokens(20, 1), beginning + tokens(11, 2)
    with running(FakeBackend(num_slots=4), prefix_cache=True) as engine:
        work = ask(engine, (first, ANN), (second, ANN), (second, ANN), (first, BOB), (second, BOB))
    assert work == [(83, []), (10, [64]), (10, [64]), (83, []), (10, [64])]
    assert (engine.counts.prefix_prompts, engine.counts.prefix_hits) == (3, 3 * 64)
    assert engine.counts.prefix_queries == 2 * 83 + 3 * 74


def test_nothing_is_shared_unless_it_is_asked_for():
    with running(FakeBackend(num_slots=4)) as engine:
        work = ask(engine, (tokens(64), ANN), (tokens(64), ANN))
    assert work == [(63, []), (63, [])]
    assert engine.counts.prefix_queries == engine.counts.prefix_hits == 0


def test_a_slot_whose_prompt_is_taken_over_keeps_its_beginning_in_place():
    beginning = tokens(40)
    with running(FakeBackend(num_slots=1), prefix_cache=True) as engine:
        work = ask(engine, (beginning + tokens(9, 1), ANN), (beginning + tokens(9, 2), ANN), (tokens(40, 7), ANN))
        assert work == [(48, []), (48 - 2 * BLOCK, []), (39, [])]
        assert ask(engine, (beginning, ANN)) == [(39, [])]  # nobody holds it any more


def test_the_slot_that_was_of_use_least_lately_is_taken_over():
    first, second, third = tokens(40, 1), tokens(40, 2), tokens(40, 3)
    with running(FakeBackend(num_slots=2), prefix_cache=True) as engine:
        work = ask(engine, (first, ANN), (second, ANN), (first, ANN), (third, ANN), (first, ANN))
    assert [computed for computed, _ in work] == [39, 39, 39 - 2 * BLOCK, 39, 39 - 2 * BLOCK]


def test_samples_that_come_together_take_the_beginning_before_its_slot_is_taken_over():
    beginning, params = tokens(48), params_of(3, seed=1)
    prompts = [beginning + tokens(9, seed) for seed in range(5)]

    async def scenario(engine):
        await collect(engine.submit(prompts[0], params, owner=ANN))
        streams = [engine.submit(prompt, params, n=2, owner=ANN) for prompt in prompts]
        return await asyncio.gather(*map(collect, streams))

    with running(FakeBackend(num_slots=3), prefix_cache=True) as engine:
        answers = asyncio.run(scenario(engine))
    assert answers == [[(expected(prompt, params, i), "length") for i in range(2)] for prompt in prompts]
    assert engine.counts.prefix_prompts == 5


@pytest.mark.parametrize("wrong", ["not finite", "copy"])
def test_what_cannot_be_trusted_is_not_shared(wrong, monkeypatch):
    backend, first = FakeBackend(num_slots=2), tokens(64, 1)

    async def scenario(engine):
        await asyncio.gather(collect(engine.submit(first, params_of(2), owner=ANN)), return_exceptions=True)
        return await asyncio.gather(collect(engine.submit(first, params_of(2), owner=ANN)), return_exceptions=True)

    if wrong == "not finite":
        backend.not_finite = lambda prompt_ids, step: True
    with running(backend, prefix_cache=True) as engine:
        asyncio.run(scenario(engine))
        if wrong == "copy":
            monkeypatch.setattr(backend, "copy", lambda *arguments: 1 / 0)
            [error] = asyncio.run(scenario(engine))
            assert "ZeroDivisionError" in str(error)
            monkeypatch.undo()
        backend.not_finite = lambda prompt_ids, step: False
        hits = engine.counts.prefix_hits
        computed = ask(engine, (first, ANN))[0][0]
    assert engine.counts.prefix_hits - hits == 63 - computed
    assert (computed == 63) == (wrong == "not finite")


def test_random_traffic_draws_the_same_with_and_without():
    chance = random.Random(4)
    beginnings = [tokens(chance.randrange(1, 80), seed) for seed in range(4)]
    requests = [
        (
            chance.choice(beginnings) + tokens(chance.randrange(1, 40), seed),
            params_of(chance.randrange(1, 6), seed=seed),
        )
        for seed in range(60)
    ]

    async def scenario(engine):
        streams = [
            engine.submit(prompt, params, n=1 + params.seed % 3, owner=(ANN, BOB, None)[params.seed % 4 % 3])
            for prompt, params in requests
        ]
        return await asyncio.gather(*map(collect, streams))

    for cache in (False, True):
        with running(FakeBackend(num_slots=5), prefix_cache=cache, queue_limit=200) as engine:
            answers = asyncio.run(scenario(engine))
        assert answers == [
            [(expected(prompt, params, i), "length") for i in range(1 + params.seed % 3)] for prompt, params in requests
        ]
        assert bool(engine.counts.prefix_hits) == cache
