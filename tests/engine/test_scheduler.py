"""The scheduler's decisions, one table at a time; no thread, no backend."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from samplers.params import SamplingParams
from server.engine.request import FinishReason, Request, Sample
from server.engine.scheduler import Scheduler
from server.engine.stream import TokenStream


def request_of(n=1, num_prompt=3):
    loop = asyncio.new_event_loop()
    loop.close()
    request = Request(
        prompt_ids=tuple(range(num_prompt)),
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


def finish_prefill(sample):
    sample.num_prefilled = sample.request.num_prefill


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
    leader.num_prefilled = 1
    assert scheduler.prefilling() == [leader]
    finish_prefill(leader)
    assert scheduler.prefilling() == []
    assert scheduler.ready() == [leader, *others]
    assert [scheduler.source(sample) for sample in others] == [leader, leader]
    assert scheduler.source(leader) is None


def test_a_late_sample_copies_from_any_sibling_that_still_holds_the_prompt():
    scheduler = Scheduler(2)
    request = request_of(3)
    scheduler.add(request)
    scheduler.admit()
    leader, second, late = request.samples
    finish_prefill(leader)
    finish_prefill(second)
    scheduler.finish(leader, FinishReason.LENGTH)
    scheduler.admit()
    assert scheduler.source(late) is second
    scheduler.finish(second, FinishReason.LENGTH)
    assert scheduler.source(late) is None
    assert scheduler.prefilling() == [late]


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
