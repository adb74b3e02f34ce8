"""Penalties on tokens that have occurred, by hand and as transformers has them."""

import numpy as np
import pytest
import torch
from transformers import NoBadWordsLogitsProcessor, RepetitionPenaltyLogitsProcessor

from samplers.chain import process
from samplers.params import SamplingParams
from tests.samplers.conftest import random_logits, rows_of

LOGITS = np.float32([[4.0, -2.0, 0.0, 1.0, 8.0]])


def processed(xp, *, prompt=(0, 1), generated=(), logits=LOGITS, **params):
    state = rows_of([SamplingParams(**params)], logits.shape[1], prompt=prompt, generated=generated)
    return xp(process, logits, state)[0].tolist()


def test_the_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_not(xp):
    """Of the prompt and of generated tokens alike, however often they came."""
    for history in ({"prompt": (0, 1, 2)}, {"prompt": (2, 0), "generated": (1, 1, 0, 1)}):
        assert processed(xp, repetition_penalty=2.0, **history) == [2.0, -4.0, 0.0, 1.0, 8.0]
        assert processed(xp, repetition_penalty=0.5, **history) == [8.0, -1.0, 0.0, 1.0, 8.0]


def test_presence_counts_once_and_frequency_every_time_and_neither_the_prompt(xp):
    history = {"prompt": (4, 4, 0), "generated": (0, 3, 3, 3)}
    assert processed(xp, presence_penalty=0.5, **history) == [3.5, -2.0, 0.0, 0.5, 8.0]
    assert processed(xp, frequency_penalty=0.5, **history) == [3.5, -2.0, 0.0, -0.5, 8.0]
    assert processed(xp, presence_penalty=-0.25, frequency_penalty=0.5, **history) == [3.75, -2.0, 0.0, -0.25, 8.0]
    assert processed(xp, presence_penalty=2.0, frequency_penalty=2.0, prompt=(0, 1, 2, 3, 4)) == LOGITS[0].tolist()


def test_repetition_comes_before_presence_and_frequency(xp):
    """8 / 2 - 1; the other way it would be 3.5."""
    assert processed(xp, repetition_penalty=2.0, presence_penalty=1.0, generated=(4,))[4] == 3.0


def test_a_bias_comes_before_the_repetition_penalty(xp):
    """-2 + 3 is positive by then, and halved."""
    assert processed(xp, repetition_penalty=2.0, logit_bias={1: 3.0})[1] == 0.5


def test_what_is_banned_stays_banned(xp):
    found = processed(xp, repetition_penalty=0.001, presence_penalty=-2.0, generated=(1, 2), allowed_token_ids=(0, 1))
    assert found[2:] == [-np.inf] * 3
    assert found[1] == pytest.approx(-0.002 + 2.0)


def test_each_row_pays_for_its_own_history(xp):
    rows = [rows_of([SamplingParams(repetition_penalty=2.0)], 5, prompt=(token,)) for token in range(5)]
    for token, state in enumerate(rows):
        found = xp(process, LOGITS, state)[0]
        assert np.flatnonzero(found != LOGITS[0]).tolist() == ([] if LOGITS[0, token] == 0.0 else [token])


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.3, 5.0])
def test_the_repetition_penalty_is_that_of_transformers(xp, penalty):
    random = np.random.default_rng(0)
    for seed in range(5):
        logits, text = random_logits(1, 211, seed), random.integers(0, 211, 60).tolist()
        expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([text]), torch.from_numpy(logits))
        found = processed(xp, logits=logits, prompt=text[:40], generated=text[40:], repetition_penalty=penalty)
        np.testing.assert_allclose(found, expected[0].numpy(), rtol=1e-6)


def test_bad_words_are_those_of_transformers(xp):
    random = np.random.default_rng(1)
    banned = 0
    for _ in range(20):
        text = random.integers(0, 3, 12).tolist()
        words = [(*random.integers(0, 3, size).tolist(), 2 + int(size)) for size in random.integers(1, 5, 8)]
        words += [(7,), (*text[-3:], 8)]
        logits = random_logits(1, 9)
        expected = NoBadWordsLogitsProcessor([list(word) for word in words])(torch.tensor([text]), torch.tensor(logits))
        found = processed(xp, logits=logits, prompt=text[:5], generated=text[5:], bad_words=tuple(words))
        assert found == expected[0].tolist()
        banned += np.isneginf(found).sum()
    assert banned > 40
