"""The scheduler's decisions, one table at a time; no thread, no backend."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from samplers.params import SamplingParams
from server.engine.request import FinishReason, Prompt, Request, Sample
from server.engine.scheduler import Scheduler
from server.engine.stream import TokenStream


def request_of(n=1, num_prompt=3, prompt=None):
    loop = asyncio.new_event_loop()
    loop.close()
    request = Request(
        prompt=prompt or Prompt(tuple(range(num_prompt))),
        params=SamplingParams(),
        stop_ids=frozenset(),
        stream=TokenStream(n, loop, lambda index: None),
        submitted_s=0.0,
        deadline_s=None,
    )
    request.samples = [Sample(request, index) for index in range(n)]
    return request


def slots(samples):
    return [sample.slot for sample in samples]


def finish_prefill(scheduler, sample):
    scheduler.prefilled(sample, sample.request.prompt.num_prefill - sample.num_prefilled)


def test_samples_take_the_lowest_free_slots_in_the_order_they_came():
    scheduler = Scheduler(3)
    first, second = request_of(2), request_of(2)
    scheduler.add(first)
    scheduler.add(second)
    assert scheduler.admit() == [*first.samples, second.samples[0]]
    assert slots([*first.samples, *second.samples]) == [0, 1, 2, None]
    assert list(scheduler.waiting) == [second.samples[1]]
    assert scheduler.admit() == []


def test_a_slot_that_becomes_free_goes_to_the_oldest_waiting_sample():
    scheduler = Scheduler(2)
    running, waiting = request_of(2), request_of(2)
    scheduler.add(running)
    scheduler.add(waiting)
    scheduler.admit()
    assert scheduler.finish(running.samples[1], FinishReason.STOP) == 1
    assert scheduler.admit() == [waiting.samples[0]]
    assert waiting.samples[0].slot == 1
    assert running.samples[1].slot is None
    assert running.samples[1].finish_reason == "stop"


def test_only_the_first_sample_of_a_request_is_prefilled_and_the_others_copy_from_it():
    scheduler = Scheduler(4)
    request = request_of(3)
    scheduler.add(request)
    scheduler.admit()
    leader, *others = request.samples
    assert scheduler.prefilling() == [leader]
    assert scheduler.ready() == []
    scheduler.prefilled(leader, 1)
    assert scheduler.prefilling() == [leader]
    finish_prefill(scheduler, leader)
    assert scheduler.prefilling() == []
    assert scheduler.ready() == [leader, *others]
    assert [scheduler.source(sample) for sample in others] == [leader.slot, leader.slot]


def test_a_late_sample_takes_the_slot_that_holds_its_prompt_even_when_nobody_decodes_there():
    scheduler = Scheduler(2)
    request = request_of(3)
    scheduler.add(request)
    scheduler.admit()
    leader, second, late = request.samples
    finish_prefill(scheduler, leader)
    scheduler.finish(leader, FinishReason.LENGTH)
    scheduler.finish(second, FinishReason.LENGTH)
    scheduler.admit()
    assert late.slot == 0
    assert late.prefilled
    assert scheduler.prefilling() == []


def test_requests_that_give_the_same_prompt_share_its_prefill_and_equal_prompts_do_not():
    scheduler = Scheduler(3)
    shared = Prompt((1, 2, 3))
    first, second, stranger = request_of(prompt=shared), request_of(prompt=shared), request_of(prompt=Prompt((1, 2, 3)))
    for request in (first, second, stranger):
        scheduler.add(request)
    scheduler.admit()
    assert scheduler.prefilling() == [first.samples[0], stranger.samples[0]]
    finish_prefill(scheduler, first.samples[0])
    assert scheduler.source(second.samples[0]) == 0
    assert scheduler.ready() == [first.samples[0], second.samples[0]]


def test_another_prompt_takes_a_slot_over_and_nobody_copies_from_it_any_more():
    scheduler = Scheduler(1)
    shared = Prompt((1, 2, 3))
    before, other, after = request_of(prompt=shared), request_of(), request_of(prompt=shared)
    scheduler.add(before)
    scheduler.admit()
    finish_prefill(scheduler, before.samples[0])
    scheduler.finish(before.samples[0], FinishReason.STOP)
    scheduler.add(other)
    scheduler.admit()
    assert scheduler.prefilling() == other.samples
    scheduler.finish(other.samples[0], FinishReason.STOP)
    scheduler.add(after)
    scheduler.admit()
    assert scheduler.prefilling() == after.samples


def test_the_slot_that_others_have_copied_from_is_taken_last():
    scheduler = Scheduler(4)
    before, after = request_of(3), request_of(4)
    scheduler.add(before)
    scheduler.admit()
    for sample in before.samples:
        finish_prefill(scheduler, sample)
    for sample in before.samples:
        scheduler.finish(sample, FinishReason.STOP)
    scheduler.add(after)
    scheduler.admit()
    assert slots(after.samples) == [1, 2, 3, 0]


def test_nobody_copies_from_a_slot_that_is_to_be_forgotten():
    scheduler = Scheduler(2)
    request = request_of(2)
    scheduler.add(request)
    scheduler.admit()
    finish_prefill(scheduler, request.samples[0])
    scheduler.forget(0)
    scheduler.finish(request.samples[0], FinishReason.CANCELLED)
    assert scheduler.prefilling() == [request.samples[1]]


def test_a_prompt_of_one_token_is_ready_at_once():
    scheduler = Scheduler(1)
    request = request_of(num_prompt=1)
    scheduler.add(request)
    scheduler.admit()
    assert scheduler.prefilling() == []
    assert scheduler.ready() == request.samples


def test_only_decoding_samples_take_part_in_a_step():
    scheduler = Scheduler(2)
    request = request_of(2)
    scheduler.add(request)
    scheduler.admit()
    request.samples[1].decoding = True
    assert scheduler.decoding() == [request.samples[1]]
    scheduler.finish(request.samples[1], FinishReason.CANCELLED)
    assert scheduler.decoding() == []


def test_a_waiting_sample_can_end_without_ever_having_a_slot():
    scheduler = Scheduler(1)
    request = request_of(2)
    scheduler.add(request)
    scheduler.admit()
    assert scheduler.finish(request.samples[1], FinishReason.TIMEOUT) is None
    assert not scheduler.waiting
    assert scheduler
    scheduler.finish(request.samples[0], FinishReason.TIMEOUT)
    assert not scheduler
    assert list(scheduler.samples()) == []


@given(st.integers(1, 4), st.lists(st.one_of(st.integers(1, 5), st.floats(0, 0.999)), max_size=40))
def test_slots_are_never_shared_and_nobody_overtakes(num_slots, moves):
    """An integer adds a request of that many samples; a fraction ends the sample at that place of those that live."""
    scheduler = Scheduler(num_slots)
    came, placed = [], []
    for move in moves:
        if isinstance(move, int):
            request = request_of(move)
            came += request.samples
            scheduler.add(request)
        elif living := list(scheduler.samples()):
            ended = living[int(move * len(living))]
            if ended.slot is None:
                came.remove(ended)
            scheduler.finish(ended, FinishReason.CANCELLED)
        placed += scheduler.admit()
        held = [sample.slot for sample in scheduler.samples() if sample.slot is not None]
        assert len(set(held)) == len(held) == scheduler.num_placed
        assert set(held) <= set(range(num_slots))
        assert len(held) == num_slots or not scheduler.waiting
        assert placed == came[: len(placed)]
