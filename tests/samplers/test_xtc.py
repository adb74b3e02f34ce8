"""XTC, exclude top choices: which tokens go, by hand; and when, by the coin of seed and step."""

import numpy as np
import pytest

from samplers.params import SamplingParams
from tests import reference
from tests.samplers.conftest import PROMPT, rows_of
from tests.samplers.oracle import kept_patterns

HALVES = np.log([1 / 8, 1 / 2, 1 / 8, 1 / 4])
FALLING = np.log([0.4, 0.3, 0.2, 0.1])


def always(xp, logits, patterns, **params):
    asked = [SamplingParams(xtc_probability=1.0, xtc_threshold=threshold, **params) for threshold in patterns]
    assert kept_patterns(xp, logits, asked) == list(patterns.values())


def test_the_least_probable_choice_is_left(xp):
    always(xp, FALLING, {0.0: "nnnY", 0.09: "nnnY", 0.11: "nnYY", 0.21: "nYYY", 0.31: "YYYY", 0.5: "YYYY", 1.0: "YYYY"})


def test_choices_that_tie_with_the_least_probable_one_are_left(xp):
    always(xp, HALVES, {0.0: "YnYn", 0.12: "YnYn", 0.13: "YnYY", 0.26: "YYYY"})
    always(xp, [0.0, 0.0, 0.0, 0.0], {0.0: "YYYY", 0.1: "YYYY"})


def test_one_choice_is_no_choice(xp):
    always(xp, [0.0], {0.0: "Y", 0.1: "Y", 1.0: "Y"})
    always(xp, [0.0, -9.0], {0.1: "YY"})


def test_banned_tokens_are_no_choices(xp):
    always(xp, FALLING, {0.0: "nYnn"}, allowed_token_ids=(0, 1))


def test_what_was_cut_off_before_counts_no_more(xp):
    """Of the first two tokens, 0.571 and 0.429, both are choices."""
    always(xp, FALLING, {0.42: "nYnn", 0.43: "YYnn"}, top_k=2)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_coin_is_the_counter_after_all_tokens(xp, probability):
    """Of 300 samples at three steps, each by its own coin."""
    params = SamplingParams(xtc_probability=probability, seed=2**63 - 1)
    for step in (0, 1, 77):
        acted = ~xp.kept(np.tile(np.float32(FALLING), (300, 1)), rows_of([params] * 300, 4, step=step))[:, 0]
        keys = (reference.row_key(params.seed, PROMPT, sample) for sample in range(300))
        assert acted.tolist() == [reference.coin(key, step) < np.float32(probability) for key in keys]


def test_the_coin_is_fair(xp):
    """1200 ± 29 of 4000; beyond 5 deviations once in 2 million."""
    state = rows_of([SamplingParams(xtc_probability=0.3)], 4).take(np.zeros(4000, np.int64))
    state.step[:] = np.arange(4000)
    acted = ~xp.kept(np.tile(np.float32(FALLING), (4000, 1)), state)[:, 0]
    assert abs(acted.sum() - 1200) < 5 * 29
