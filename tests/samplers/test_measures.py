"""Measures of drawn tokens against float64: surprise, log-probability, entropy, divergence, and what was kept."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplers import chain
from samplers.measures import TokenMeasures, measure
from samplers.params import SamplingParams
from tests import reference
from tests.samplers.conftest import LAWS, random_logits, rows_of

ASKED = [
    {},
    {"temperature": 0.3},
    {"temperature": 1.7, "top_k": 20},
    {"temperature": 0.8, "top_p": 0.7},
    {"temperature": 2.0, "min_p": 0.05, "typical_p": 0.9},
    {"temperature": 1.2, "top_k": 30, "top_p": 0.9, "logit_bias": {3: 5.0, 8: -100.0}},
    {"temperature": 1.5, "xtc_probability": 1.0, "xtc_threshold": 0.02},
    {"temperature": 1.5, "top_p": 0.9, "order": "llamacpp"},
    {"temperature": 1e8},
    {"temperature": 1e-8},
    {"temperature": 0.0},
    {"temperature": 0.0, "logit_bias": {3: 50.0}},
]
OUTSIDE = ("top_k", "top_p", "min_p", "typical_p", "xtc_probability", "xtc_threshold")


def measured_step(logits, state):
    sampled, processed = chain.sample(logits, state), chain.process(logits, state)
    return sampled.token_ids, measure(logits, processed, sampled.kept, state.temperature, sampled.token_ids)


def measured(xp, params, logits):
    """Draw a token for each row and measure it."""
    state = rows_of([SamplingParams(**row) for row in params], logits.shape[-1], prompt=(0,))
    token_ids, found = xp(measured_step, logits, state)
    return token_ids, [TokenMeasures(*row) for row in found.tolist()]


def expected(logits, params, token):
    model = reference.distribution(logits)
    drawn_from = reference.distribution(logits, **params)
    tempered = reference.distribution(logits, **{name: value for name, value in params.items() if name not in OUTSIDE})
    probabilities = zip(drawn_from.probabilities, drawn_from.logprobs, model.logprobs, strict=True)
    return TokenMeasures(
        surprise=-model.logprobs[token],
        logprob=drawn_from.logprobs[token],
        entropy=drawn_from.entropy,
        kl=math.fsum(q * (log_q - log_p) for q, log_q, log_p in probabilities if q),
        kept=len(drawn_from.kept),
        kept_mass=math.fsum(tempered.probabilities[kept] for kept in drawn_from.kept),
        top_mass=max(drawn_from.probabilities),
    )


KNOWN_KEPT = (0.731059, 0.268941)  # of logits 2, 1, 0, -1, with top_p 0.8 or with min_p 0.2


@pytest.mark.parametrize(
    ("params", "entropy", "kl", "q"),
    [
        ({"temperature": 0.5}, 0.455429, 0.139936, (0.864955, 0.117059, 0.015842, 0.002144)),
        ({}, 0.947537, 0.0, (0.643914, 0.236883, 0.087144, 0.032059)),
        ({"temperature": 2.0}, 1.24505, 0.110563, (0.455054, 0.276004, 0.167405, 0.101536)),
        ({"top_p": 0.8}, 0.582203, 0.126928, KNOWN_KEPT),
        ({"min_p": 0.2}, 0.582203, 0.126928, KNOWN_KEPT),
    ],
)
def test_known_answers(xp, params, entropy, kl, q):
    token_ids, found = measured(xp, [params] * 8, np.float32([[2.0, 1.0, 0.0, -1.0]] * 8))
    p = (0.643914, 0.236883, 0.087144, 0.032059)
    for token_id, row in zip(token_ids, found, strict=True):
        assert (row.entropy, row.kl) == pytest.approx((entropy, kl), abs=1e-6)
        assert (row.kept, row.top_mass) == (len(q), pytest.approx(q[0], abs=1e-6))
        assert row.kept_mass == pytest.approx(math.fsum(p[: len(q)]), abs=1e-6)
        assert row.surprise == pytest.approx(-math.log(p[token_id]), abs=2e-5)
        assert row.logprob == pytest.approx(math.log(q[token_id]), abs=5e-4)  # of the least, six digits leave three
        if len(q) == 2:
            assert row.kl == pytest.approx(-math.log(row.kept_mass), abs=1e-6)  # truncation alone


@pytest.mark.parametrize("vocab_size", [1, 5, 211, 2048])
def test_measures_are_those_of_float64(xp, vocab_size):
    asked = [row for row in ASKED if max(row.get("logit_bias", {0: 0})) < vocab_size]
    logits = random_logits(len(asked), vocab_size)
    token_ids, found = measured(xp, asked, logits)
    for row, params in enumerate(asked):
        wanted = expected(logits[row].tolist(), params, int(token_ids[row]))
        assert found[row] == pytest.approx(wanted, rel=2e-5, abs=2e-5), params


def test_banned_tokens_have_no_part_in_them(xp):
    logits = np.float32([[2.0, 1.0, -np.inf, 0.5], [-np.inf, -np.inf, 3.0, -np.inf]])
    params = [{"allowed_token_ids": (0, 2, 3)}, {}]
    token_ids, found = measured(xp, params, logits)
    for row in range(2):
        wanted = expected(logits[row].tolist(), params[row], int(token_ids[row]))
        assert found[row] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_a_row_measures_the_same_alone_and_among_others(xp):
    logits = random_logits(len(ASKED), 1000)
    _, together = measured(xp, ASKED, logits)
    state = rows_of([SamplingParams(**row) for row in ASKED], 1000, prompt=(0,))
    for row in range(len(ASKED)):
        _, alone = xp(measured_step, logits[row : row + 1], state.take(np.arange(row, row + 1)))
        assert alone[0].tolist() == pytest.approx(together[row], rel=1e-6 if xp.name == "tensorflow" else 0, abs=0)


@LAWS
@given(
    temperature=st.floats(0.05, 20.0), top_p=st.floats(0.05, 1.0), min_p=st.floats(0.0, 0.9), seed=st.integers(0, 99)
)
def test_divergence_is_not_negative_and_shares_are_shares(xp, temperature, top_p, min_p, seed):
    logits = random_logits(2, 300, seed)
    _, found = measured(xp, [{"temperature": temperature, "top_p": top_p, "min_p": min_p}] * 2, logits)
    for row in found:
        assert row.kl >= 0
        assert row.surprise >= 0
        assert 0 < row.top_mass <= 1
        assert 0 < row.kept_mass <= 1
        assert -1e-6 <= row.entropy <= math.log(row.kept) + 1e-5


def test_the_model_alone_diverges_from_nothing(xp):
    _, found = measured(xp, [{}] * 4, random_logits(4, 5000))
    for row in found:
        assert row.kl == pytest.approx(0, abs=1e-5)
        assert row.surprise == pytest.approx(-row.logprob, abs=1e-5)
        assert row.kept_mass == 1
