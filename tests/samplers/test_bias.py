"""logit_bias, allowed_token_ids, bad_words and min_tokens: what is added, what is banned, and until when."""

import numpy as np
import pytest

from samplers.bias import apply_logit_bias, apply_min_tokens
from samplers.chain import process
from samplers.params import SamplingParams
from tests.samplers.conftest import random_logits, rows_of

LOGITS = np.float32([[3.0, 1.0, 2.0, -1.0]])


def processed(xp, params, *, eos=(), step=0):
    """Bias and ban one row of four logits."""
    return xp(process, LOGITS, rows_of([params], 4, eos=eos, step=step))[0].tolist()


def test_a_bias_is_added(xp):
    ids, bias = np.int32([[3, 0, 1, 3]]), np.float32([[-np.inf, 0.5, -0.5, -np.inf]])
    assert xp(apply_logit_bias, LOGITS.copy(), ids, bias).tolist() == [[3.5, 0.5, 2.0, -np.inf]]


def test_each_row_has_its_own_bias(xp):
    asked = [{}, {0: -1.5}, {3: 100.0, 0: -100.0}]
    state = rows_of([SamplingParams(logit_bias=bias) for bias in asked], 4)
    found = xp(process, np.repeat(LOGITS, 3, axis=0), state)
    assert found.tolist() == [[3.0, 1.0, 2.0, -1.0], [1.5, 1.0, 2.0, -1.0], [-97.0, 1.0, 2.0, 99.0]]


@pytest.mark.parametrize("token", range(4))
def test_a_bias_of_a_hundred_either_way_decides_a_draw(xp, token):
    against = {other: -100.0 for other in range(4) if other != token}
    for bias in ({token: 100.0}, against):
        state = rows_of([SamplingParams(logit_bias=bias)] * 200, 4)
        assert set(xp.sample(np.repeat(LOGITS, 200, axis=0), state).token_ids) == {token}


def test_an_empty_bias_leaves_every_bit(xp):
    logits = random_logits(3, 211)
    assert np.array_equal(xp(process, logits, rows_of([SamplingParams()] * 3, 211, eos=(2,))), logits)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_stop_tokens_are_banned_until_the_minimum_is_reached(xp, step):
    params = SamplingParams(min_tokens=2, stop_token_ids=(2,))
    banned = [3.0, -np.inf, -np.inf, -1.0]
    assert processed(xp, params, eos=(1,), step=step) == (banned if step < 2 else LOGITS[0].tolist())


def test_ignoring_eos_bans_the_requests_own_stop_tokens_alone(xp):
    params = SamplingParams(min_tokens=2, stop_token_ids=(2,), ignore_eos=True)
    assert processed(xp, params, eos=(1,)) == [3.0, 1.0, -np.inf, -1.0]


@pytest.mark.parametrize("params", [{"ignore_eos": True}, {}], ids=["eos ignored", "a model without eos"])
def test_a_minimum_bans_nothing_where_nothing_stops(xp, params):
    eos = (1,) if params else ()
    assert processed(xp, SamplingParams(min_tokens=2, **params), eos=eos) == LOGITS[0].tolist()


def test_a_ban_wins_over_a_bias(xp):
    params = SamplingParams(min_tokens=1, logit_bias={1: 100.0})
    assert processed(xp, params, eos=(1,))[1] == -np.inf


def test_thirty_two_stop_tokens_and_the_models_own_are_all_banned(xp):
    params = SamplingParams(min_tokens=1, stop_token_ids=tuple(range(10, 42)))
    banned = np.isneginf(xp(process, random_logits(1, 64), rows_of([params], 64, eos=(2, 3, 5))))[0]
    assert set(np.flatnonzero(banned)) == {2, 3, 5, *range(10, 42)}


def test_bans_of_rows_of_different_progress(xp):
    logits = np.repeat(LOGITS, 3, axis=0)
    stop_ids = np.int32([[1, 2, 1], [1, 1, 1], [0, 3, 2]])
    found = xp(apply_min_tokens, logits, stop_ids, np.int32([5, 5, 0]), np.int32([4, 5, 0]))
    assert found.tolist() == [[3.0, -np.inf, -np.inf, -1.0], LOGITS[0].tolist(), LOGITS[0].tolist()]


def test_only_allowed_tokens_are_left_and_a_bias_brings_none_back(xp):
    params = SamplingParams(allowed_token_ids=(1, 3, 3), logit_bias={0: 100.0, 1: 1.5})
    assert processed(xp, params) == [-np.inf, 2.5, -np.inf, -1.0]


@pytest.mark.parametrize(
    ("history", "banned"),
    [
        ((3,), {0}),
        ((1,), {0, 2}),
        ((1, 2), {0}),
        ((0, 1), {0, 2}),
        ((3, 1), {0, 2, 3}),
        ((3, 1, 0), {0}),
        ((2, 1), {0, 2}),
    ],
    ids=str,
)
def test_the_last_token_of_a_bad_word_is_banned_after_those_before_it(xp, history, banned):
    """A word of one token is always banned; one longer than the text never, were its end the same."""
    params = SamplingParams(bad_words=((0,), (1, 2), (3, 1, 3), (1, 3, 1, 3)))
    for prompt, generated in ((history, ()), (history[:1], history[1:])):
        state = rows_of([params], 4, prompt=prompt, generated=generated)
        assert set(np.flatnonzero(np.isneginf(xp(process, LOGITS, state))[0])) == banned


def test_bad_words_of_all_lengths_at_once(xp):
    """Word i is i twos and an end: after 9 twos all words of up to 10 tokens are completed."""
    words = tuple((2,) * i + (10 + i,) for i in range(16)) * 8
    state = rows_of([SamplingParams(bad_words=words)], 64, prompt=(1,), generated=(2,) * 9)
    banned = np.isneginf(xp(process, random_logits(1, 64), state))[0]
    assert np.flatnonzero(banned).tolist() == list(range(10, 20))


def test_a_bad_word_that_begins_with_the_padding_of_the_text_is_not_completed_by_it(xp):
    """Places beyond the text hold its first token once more."""
    state = rows_of([SamplingParams(bad_words=((1, 1, 3), (1, 1, 1, 2)))], 4, prompt=(1,), generated=(1,))
    assert np.isneginf(xp(process, LOGITS, state))[0].tolist() == [False, False, False, True]


def test_a_thousand_biases_reach_their_tokens(xp):
    logits, bias = random_logits(1, 2000), {i: (i % 7 - 3) / 2 for i in range(3, 1027)}
    found = xp(process, logits, rows_of([SamplingParams(logit_bias=bias)], 2000))
    assert (found - logits)[0].tolist() == [bias.get(i, 0.0) for i in range(2000)]


def test_processing_leaves_the_models_logits_as_they_are(xp):
    """Steps write in place; log-probabilities are asked of the model's own logits afterwards."""
    logits = random_logits(1, 64)
    before = logits.copy()
    params = SamplingParams(
        logit_bias={1: 5.0}, bad_words=((2,),), min_tokens=1, stop_token_ids=(3,), repetition_penalty=2.0,
        presence_penalty=1.0, no_repeat_ngram_size=1, dry_multiplier=1.0,
    )  # fmt: skip
    assert not np.array_equal(xp(process, logits, rows_of([params], 64, generated=(9, 9))), before)
    assert np.array_equal(logits, before)
