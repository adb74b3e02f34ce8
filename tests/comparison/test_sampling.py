"""Sampling of arms over a backend that checks every call: who shares a prefill, whose noise is whose, who fails."""

import asyncio
from contextlib import contextmanager

import pytest

from samplers.params import SamplingParams
from server.api.completion import Stopping
from server.comparison.sampling import Sampling, Writer
from server.errors import UnavailableError
from tests.conftest import loaded
from tests.engine.driving import expected
from tests.fakes import EOS, FakeBackend


@contextmanager
def serving(backend, **options):
    model = loaded(backend, **options)
    try:
        yield model
    finally:
        model.engine.stop()


def writer(model, name="cold", template=None, stop=(), **params):
    given = {"max_tokens": 4, "seed": 7, "measures": True} | params
    return Writer(name, model, SamplingParams(**given), Stopping(stop), template)


def write(writers, samples, *prompts):
    async def scenario():
        sampling = Sampling(writers, samples)
        return [await sampling.write(index, prompt) for index, prompt in enumerate(prompts)]

    return asyncio.run(scenario())


def test_arms_share_prefill_and_noise_and_keep_their_order():
    backend = FakeBackend(num_slots=4, prefill_chunk=64)
    with serving(backend) as model:
        [written] = write([writer(model), writer(model, "hot", temperature=2.0)], 3, "a long prompt")
    assert backend.count("prefill") == 1
    assert [(own.arm, own.sample_index) for own in written.completions] == [
        (arm, sample) for arm in ("cold", "hot") for sample in range(3)
    ]
    for own in written.completions:  # the fake's tokens depend on seed, prompt and sample alone
        assert list(own.token_ids) == expected(b"a long prompt", writer(model).params, own.sample_index)
        assert own.text == bytes(own.token_ids).decode()
        assert own.finish_reason == "length"
        assert own.surprise == (2.5,) * 4
        assert own.kept == (7,) * 4
    assert not written.failed


def test_a_template_surrounds_the_prompt_and_makes_a_prefill_of_its_own():
    backend = FakeBackend(num_slots=4, prefill_chunk=64)
    with serving(backend) as model:
        write([writer(model), writer(model, "asked", template="Q: {prompt}? A:")], 1, "why {not}")
    prefilled = {bytes(piece[2]).decode() for call in backend.calls if call[0] == "prefill" for piece in call[1]}
    assert prefilled == {"why {not", "Q: why {not}? A"}  # all but the last token


def test_more_samples_than_the_queue_holds_are_all_drawn():
    backend = FakeBackend(num_slots=2)
    with serving(backend, queue_limit=3) as model:
        [written] = write([writer(model), writer(model, "hot")], 20, "hello")
    assert len(written.completions) == 40


def test_a_sample_that_fails_is_counted_and_takes_no_other_with_it():
    backend = FakeBackend(num_slots=4)
    backend.not_finite = lambda prompt_ids, step: step == 2
    with serving(backend) as model:
        [written] = write([writer(model), writer(model, "short", max_tokens=2)], 3, "hello")
    assert written.failed == {"cold": 3}
    assert "not finite" in written.errors["cold"]
    assert [own.arm for own in written.completions] == ["short"] * 3


def test_a_prompt_too_long_for_one_arm_is_its_failure_alone():
    with serving(FakeBackend(max_length=12)) as model:
        [written] = write([writer(model), writer(model, "long", max_tokens=9)], 2, "hello")
    assert written.failed == {"long": 2}
    assert "max_tokens 9" in written.errors["long"]


def test_what_ends_a_completion_is_in_it():
    backend = FakeBackend(script=lambda prompt, params, sample: [*b"one two", EOS])
    with serving(backend) as model:
        arms = [writer(model, max_tokens=20), writer(model, "stopped", max_tokens=20, stop=(" t",))]
        [written] = write(arms, 1, "hello")
    whole, stopped = written.completions
    assert (whole.text, whole.token_ids[-1], whole.finish_reason) == ("one two", EOS, "stop")
    assert (stopped.text, bytes(stopped.token_ids), stopped.finish_reason) == ("one", b"one t", "stop")
    assert len(stopped.entropy) == len(stopped.token_ids)


def test_an_engine_that_has_stopped_fails_the_comparison():
    with serving(FakeBackend()) as model:
        model.engine.stop()
        with pytest.raises(ExceptionGroup) as raised:
            write([writer(model)], 1, "hello")
    assert raised.group_contains(UnavailableError)
