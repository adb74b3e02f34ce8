"""Slots: what is admitted is what is sampled, and nothing of one sequence reaches the next."""

import math

import numpy as np
import pytest

from samplers.params import SamplingParams
from server.errors import ModelError
from tests.backends.conftest import VOCAB_SIZE, fill

POISON = 77


def with_poisoned_token(weights):
    """Make one token's embedding NaN, in a model whose head is a matrix of its own."""
    weights.embedding[POISON] = np.nan
    return weights


@pytest.mark.usefixtures("operators")
def test_a_row_that_is_not_finite_fails_alone_and_leaves_nothing(make_backend):
    backend = make_backend("llama untied", change=with_poisoned_token)
    healthy, poisoned = [5, 6, 7], [5, POISON, 7]
    expected = drawn_alone(backend, healthy)
    for slot, prompt in ((0, healthy), (1, poisoned)):
        fill(backend, slot, prompt)
        backend.admit(slot, prompt, SamplingParams(seed=3))
    for token_id in expected:
        step = backend.decode([1, 0])
        assert step.finite == [False, True]
        assert step.token_ids[1] == token_id
        assert 0 <= step.token_ids[0] < VOCAB_SIZE
    backend.release(1)
    assert drawn_alone(backend, healthy, slot=1) == expected


def drawn_alone(backend, prompt, slot=0):
    fill(backend, slot, prompt)
    backend.admit(slot, prompt, SamplingParams(seed=3))
    drawn = [backend.decode([slot]) for _ in range(4)]
    backend.release(slot)
    assert all(step.finite == [True] for step in drawn)
    return [step.token_ids[0] for step in drawn]


@pytest.mark.usefixtures("operators")
def test_every_row_has_its_own_parameters(make_backend):
    backend, prompt = make_backend(), [9, 8, 7]
    rows = [
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=5.0, top_k=1, seed=1),
        SamplingParams(temperature=5.0, top_p=1e-6, seed=2),
        SamplingParams(temperature=5.0, min_p=1.0, seed=3),
        SamplingParams(temperature=1e-8, seed=4),
        SamplingParams(temperature=5.0, seed=5),
    ]
    for slot, params in enumerate(rows):
        fill(backend, slot, prompt)
        backend.admit(slot, prompt, params)
    greedy = int(np.argmax(backend.logits(0)))
    assert backend.decode(range(6)).token_ids[:5] == [greedy] * 5


def test_logit_bias_and_min_tokens_end_with_their_request(make_backend):
    backend, prompt = make_backend(), [9, 8, 7]
    fill(backend, 0, prompt)
    backend.admit(0, prompt, SamplingParams(temperature=0.0))
    greedy = backend.decode([0]).token_ids[0]
    backend.admit(0, prompt, SamplingParams(temperature=0.0, logit_bias={greedy: -100.0, 4: 100.0}))
    assert backend.decode([0]).token_ids == [4]
    backend.admit(0, prompt, SamplingParams(temperature=0.0, stop_token_ids=(greedy,), min_tokens=1))
    assert backend.decode([0]).token_ids != [greedy]
    backend.admit(0, prompt, SamplingParams(temperature=0.0, top_k=2))
    assert backend.decode([0]).token_ids == [greedy]


@pytest.mark.usefixtures("operators")
def test_a_plain_sample_leaves_nothing_of_its_neighbours_histories_in_its_slot(make_backend):
    """Beside a row that is processed it has a history too, which goes on in the slot until somebody asks for it."""
    penalties = SamplingParams(temperature=0.9, seed=7, frequency_penalty=0.8, no_repeat_ngram_size=2, top_p=0.9)
    backend, prompt = make_backend(), [9, 8, 7]
    expected = drawn_beside(make_backend(), prompt, penalties, slot=0)
    for _ in range(4):  # of 100 steps each, in a slot of 320 positions
        fill(backend, 0, prompt)
        backend.admit(0, prompt, SamplingParams(seed=1, temperature=0.0))
        drawn_beside(backend, prompt, penalties, slot=1, others=[0], steps=100)
    assert drawn_beside(backend, prompt, penalties, slot=0) == expected
    plain = SamplingParams(seed=3, temperature=0.0)  # in a slot of penalties that no longer count, beside some that do
    drawn = drawn_beside(backend, prompt, plain, slot=0, others=[1])
    assert drawn == drawn_beside(make_backend(), prompt, plain, slot=0)


def drawn_beside(backend, prompt, params, *, slot, others=(), steps=20):
    fill(backend, slot, prompt)
    backend.admit(slot, prompt, params)
    return [backend.decode([slot, *others]).token_ids[0] for _ in range(steps)]


def test_logprobs_describe_the_draw(make_backend):
    backend, prompt = make_backend(), [9, 8, 7]
    for slot, params in ((0, SamplingParams(logprobs=3, seed=1)), (1, SamplingParams(seed=1))):
        fill(backend, slot, prompt)
        backend.admit(slot, prompt, params)
    logits = np.array(backend.logits(0))
    step = backend.decode([0, 1])
    logprobs = logits - logits.max() - math.log(np.exp(logits - logits.max()).sum())
    assert step.logprobs[1] is None
    assert step.logprobs[0].logprob == pytest.approx(logprobs[step.token_ids[0]], abs=1e-5)
    assert list(step.logprobs[0].top_ids) == np.argsort(-logprobs)[:3].tolist()
    assert step.logprobs[0].kept == VOCAB_SIZE


def test_samples_of_one_prompt_differ_and_repeat(make_backend):
    backend, prompt = make_backend(), [9, 8, 7]

    def draw():
        for slot in range(4):
            fill(backend, slot, prompt)
            backend.admit(slot, prompt, SamplingParams(seed=1), sample_index=slot)
        return np.array([backend.decode(range(4)).token_ids for _ in range(8)]).T.tolist()

    first = draw()
    assert first == draw()
    assert len({tuple(sample) for sample in first}) == 4  # 8 tokens of about 200: equal by chance once in 10^15


def test_a_device_that_is_not_there_is_a_clear_error(make_backend):
    with pytest.raises(ModelError, match="no CUDA device here; use --device cpu or auto"):
        make_backend(device="cuda")


@pytest.mark.usefixtures("operators")
def test_measures_are_those_of_the_rows_that_ask(make_backend):
    backend, prompt = make_backend(), [9, 8, 7]
    asked = {"logprobs": 0, "measures": True}
    rows = [
        SamplingParams(temperature=0.7, top_p=0.8, repetition_penalty=1.3, seed=1, **asked),
        SamplingParams(temperature=1.5, top_k=5, seed=2),
        SamplingParams(temperature=0.7, top_p=0.8, repetition_penalty=1.3, seed=1, logprobs_mode="processed", **asked),
    ]
    for slot, params in enumerate(rows):
        fill(backend, slot, prompt)
        backend.admit(slot, prompt, params)
    for _ in range(3):
        step = backend.decode([0, 1, 2])
        assert step.measures[1] is None
        assert step.measures[0] == step.measures[2]
        raw, processed, measures = step.logprobs[0], step.logprobs[2], step.measures[0]
        assert measures.surprise == pytest.approx(-raw.logprob, abs=1e-5)
        assert measures.logprob == pytest.approx(processed.logprob, abs=1e-5)
        assert measures.entropy == pytest.approx(processed.entropy, abs=1e-5)
        assert measures.kept == processed.kept
