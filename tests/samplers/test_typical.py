"""Locally typical sampling: an interval around the entropy, by hand."""

import numpy as np

from samplers.params import SamplingParams
from tests.samplers.oracle import kept_patterns


def typical(xp, probabilities, patterns, **params):
    asked = [SamplingParams(typical_p=p, **params) for p in patterns]
    assert kept_patterns(xp, np.log(probabilities), asked) == list(patterns.values())


def test_halves_by_hand(xp):
    """The entropy is 1.75 ln 2; surprises of 1, 2 and 3 ln 2 lie 0.75, 0.25 and 1.25 from it."""
    patterns = {1e-30: "nnnY", 0.24: "nnnY", 0.26: "nYnY", 0.74: "nYnY", 0.76: "YYYY", 0.99: "YYYY", 1.0: "YYYY"}
    typical(xp, [1 / 8, 1 / 2, 1 / 8, 1 / 4], patterns)


def test_the_best_token_may_be_the_first_to_go(xp):
    """The entropy of 0.4 and six times 0.1 is 1.748: 0.92 lies 0.83 from it, 2.30 lies 0.55 from it."""
    typical(xp, [0.4] + [0.1] * 6, {0.05: "nYYYYYY", 0.59: "nYYYYYY", 0.61: "YYYYYYY"})


def test_both_sides_of_the_entropy_are_kept_in_turns(xp):
    """Of 0.5 0.25 0.15 0.1 the entropy is 1.208; the surprises 0.69 1.39 1.90 2.30 lie 0.51 0.18 0.69 1.09 from it."""
    typical(xp, [0.5, 0.25, 0.15, 0.1], {0.2: "nYnn", 0.3: "YYnn", 0.8: "YYYn", 0.95: "YYYY"})


def test_tokens_of_one_probability_are_kept_together(xp):
    typical(xp, [0.25] * 4, {0.01: "YYYY", 0.5: "YYYY"})
    typical(xp, [1.0], {0.01: "Y"})


def test_what_was_cut_off_before_counts_no_more(xp):
    """Of 0.4 0.3 0.2 0.1 the entropy is 1.280 and 0.3 is most typical; of the first two it is 0.683, and 0.4 is."""
    typical(xp, [0.4, 0.3, 0.2, 0.1], {0.2: "nYnn"})
    typical(xp, [0.4, 0.3, 0.2, 0.1], {0.2: "Ynnn"}, top_k=2)


def test_temperature_moves_the_entropy(xp):
    """At temperature 0.5 halves are 0.727 0.182 0.045 0.045, of entropy 0.822: 0.318 is nearest, at 0.50."""
    typical(xp, [1 / 8, 1 / 2, 1 / 8, 1 / 4], {0.2: "nYnn", 0.72: "nYnn", 0.74: "nYnY"}, temperature=0.5)
