"""The rules that cut off improbable tokens, by hand: four tokens, every boundary and its ties."""

import numpy as np
import pytest

from samplers.params import SamplingParams
from tests.samplers.oracle import kept_patterns

HALVES = np.log([1 / 8, 1 / 2, 1 / 8, 1 / 4])  # the two last ones tie
BY_HAND = {
    "top_k": {1: "nYnn", 2: "nYnY", 3: "YYYY", 4: "YYYY", 5: "YYYY", 2**31 - 1: "YYYY", 0: "YYYY"},
    "top_p": {1e-30: "nYnn", 0.49: "nYnn", 0.51: "nYnY", 0.74: "nYnY", 0.76: "YYYY", 0.88: "YYYY", 1.0: "YYYY"},
    "min_p": {0.0: "YYYY", 0.24: "YYYY", 0.26: "nYnY", 0.49: "nYnY", 0.51: "nYnn", 1.0: "nYnn"},
    "epsilon_cutoff": {0.0: "YYYY", 0.12: "YYYY", 0.13: "nYnY", 0.24: "nYnY", 0.3: "nYnn", 0.6: "nYnn", 0.99: "nYnn"},
    # The entropy is 1.75 ln 2, of which the exponential is 0.2973 inverted. The limit of 0.05 is 0.05, of 0.16 it is
    # 0.4 · 0.2973 = 0.119 (epsilon 0.16 would keep two), of 0.2 0.133, of 0.7 0.249, and of 0.9 0.282.
    "eta_cutoff": {0.0: "YYYY", 0.05: "YYYY", 0.16: "YYYY", 0.2: "nYnY", 0.7: "nYnY", 0.9: "nYnn"},
    # Distances are 0, 1, 2, 2 times ln 2: mean 1.25, variance 0.6875, so that σ is 0.8292 ln 2.
    "top_n_sigma": {0.0: "YYYY", 0.1: "nYnn", 1.2: "nYnn", 1.21: "nYnY", 2.4: "nYnY", 2.42: "YYYY", 1e30: "YYYY"},
}


@pytest.mark.parametrize("name", BY_HAND)
def test_each_rule_by_hand(xp, name):
    asked = [SamplingParams(**{name: value}) for value in BY_HAND[name]]
    assert kept_patterns(xp, HALVES, asked) == list(BY_HAND[name].values())


@pytest.mark.parametrize(
    ("logits", "patterns"),
    [
        ([3, 2, 2, 2], {1: "Ynnn", 2: "YYYY", 3: "YYYY"}),
        ([2, 2, 2, 0], {1: "YYYn", 2: "YYYn", 3: "YYYn", 4: "YYYY"}),
        ([1, 0, -np.inf, -np.inf], {1: "Ynnn", 2: "YYnn", 3: "YYnn", 4: "YYnn"}),
    ],
    ids=["three tie", "the best tie", "two banned"],
)
def test_top_k_keeps_all_that_tie_at_its_boundary(xp, logits, patterns):
    assert kept_patterns(xp, logits, [SamplingParams(top_k=k) for k in patterns]) == list(patterns.values())


def test_top_p_keeps_all_that_tie_at_its_boundary(xp):
    """Weights 2 1 1 1: the first is 0.4 of all, and any token more brings the other two."""
    patterns = {0.39: "Ynnn", 0.41: "YYYY", 0.6: "YYYY", 0.99: "YYYY"}
    found = kept_patterns(xp, np.log([2, 1, 1, 1]), [SamplingParams(top_p=p) for p in patterns])
    assert found == list(patterns.values())


@pytest.mark.parametrize(
    "params", [{"min_p": 1.0}, {"epsilon_cutoff": 0.99}, {"eta_cutoff": 0.99}, {"top_n_sigma": 1e-9}]
)
def test_the_strictest_limits_keep_all_that_tie_with_the_best(xp, params):
    assert kept_patterns(xp, [1.0, -1.0, 1.0], [SamplingParams(**params)]) == ["YnY"]


def test_top_n_sigma_keeps_what_lies_at_its_bound(xp):
    """Logits 0 and 2: σ is 1, and 2 σ reach the other exactly."""
    patterns = {1.99: "nY", 2.0: "YY", 2.01: "YY"}
    assert kept_patterns(xp, [0.0, 2.0], [SamplingParams(top_n_sigma=n) for n in patterns]) == list(patterns.values())


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 30.0, 1e6])
def test_top_n_sigma_keeps_the_same_at_every_temperature(xp, temperature):
    asked = [SamplingParams(top_n_sigma=n, temperature=temperature) for n in (1.2, 1.21, 2.4, 2.42)]
    assert kept_patterns(xp, HALVES, asked) == ["nYnn", "nYnY", "nYnY", "YYYY"]


def test_top_n_sigma_leaves_banned_tokens_out_of_its_deviation(xp):
    """Of 4 and 2 alone, σ is 1; with two at 0 it would be 1.66, and 1.9 σ would reach them all."""
    logits = [4.0, 2.0, 0.0, 0.0]
    asked = [SamplingParams(top_n_sigma=1.9), SamplingParams(top_n_sigma=1.9, allowed_token_ids=(0, 1))]
    assert kept_patterns(xp, logits, asked) == ["YYnn", "Ynnn"]


def test_each_truncation_sees_what_the_one_before_it_left(xp):
    """Probabilities 0.4 0.3 0.2 0.1."""
    patterns = [
        ({}, "YYYY"),
        ({"top_k": 3}, "YYYn"),
        ({"top_p": 0.5}, "YYnn"),
        ({"top_k": 2, "top_p": 0.5}, "Ynnn"),  # the first is 0.57 of the two that are left
        ({"top_p": 0.85, "min_p": 0.3}, "YYYn"),
        ({"top_p": 0.65, "min_p": 0.3}, "YYnn"),
        ({"top_k": 3, "top_p": 0.95, "min_p": 0.6}, "YYnn"),
        ({"epsilon_cutoff": 0.21}, "YYnn"),
        ({"top_k": 3, "epsilon_cutoff": 0.21}, "YYYn"),  # the third is 0.22 of three
        ({"eta_cutoff": 0.6}, "YYnn"),  # entropy 1.280, limit 0.775 · 0.278 = 0.215
        ({"top_k": 3, "eta_cutoff": 0.4}, "YYYn"),  # of three 1.061, limit 0.632 · 0.346 = 0.219 < 0.222
        ({"top_n_sigma": 1.9, "top_p": 0.6}, "YYnn"),  # σ 0.514: bound 0.977 leaves three: 0.44 0.33 0.22
    ]
    found = kept_patterns(xp, np.log([0.4, 0.3, 0.2, 0.1]), [SamplingParams(**given) for given, _ in patterns])
    assert found == [pattern for _, pattern in patterns]
