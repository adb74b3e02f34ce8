"""Log-probabilities against float64: raw, tempered and processed; entropy, counts, temperature 0, ties."""

import math

import numpy as np
import pytest

from samplers.logprobs import token_logprobs
from samplers.params import SamplingParams
from tests import reference
from tests.samplers.conftest import NUMPY, TORCH, random_logits, rows_of

LOGITS = np.float32([2.0, 1.0, 0.1, 1.0, -np.inf])
ASKED = [
    {},
    {"temperature": 0.5},
    {"temperature": 1.7, "top_k": 20},
    {"temperature": 0.8, "top_p": 0.7},
    {"temperature": 2.0, "min_p": 0.05},
    {"temperature": 1.2, "top_k": 30, "top_p": 0.9, "min_p": 0.01, "logit_bias": {3: 5.0, 8: -100.0}},
    {"temperature": 1e8},
    {"temperature": 1e-8},
    {"temperature": 1e308},
]
MODES = ("raw", "tempered", "processed")


def described(params, token, *, top=0, mode="raw", logits=LOGITS, eos=()):
    row = rows_of([SamplingParams(**params)], len(logits), eos=eos, prompt=(0,))
    return token_logprobs(logits, row, NUMPY.sample(logits[None], row).kept, token, top, mode)


def oracles(logits, params):
    """Return the three distributions by their modes."""
    untruncated = {name: params[name] for name in ("temperature", "logit_bias") if name in params}
    distributions = [reference.distribution(logits.tolist(), **given) for given in ({}, untruncated, params)]
    return dict(zip(MODES, distributions, strict=True))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("params", ASKED, ids=str)
def test_numbers_are_those_of_float64(params, mode):
    logits = random_logits(1, 211)[0]
    expected, drawn_from = oracles(logits, params)[mode], oracles(logits, params)["processed"]
    for token in sorted(drawn_from.kept)[:5]:
        found = described(params, token, top=7, mode=mode, logits=logits)
        assert found.logprob == pytest.approx(expected.logprobs[token], rel=1e-6, abs=1e-5)
        assert found.entropy == pytest.approx(expected.entropy, rel=1e-6, abs=1e-5)
        assert found.kept == len(drawn_from.kept)
        assert list(found.top_logprobs) == sorted(found.top_logprobs, reverse=True)
        best = sorted(expected.kept, key=lambda token: (-expected.logprobs[token], token))[:7]
        assert found.top_ids == tuple(best)
        assert found.top_logprobs == pytest.approx([expected.logprobs[token] for token in best], rel=1e-6, abs=1e-5)


def test_the_modes_by_hand():
    """Weights e^2, e, e^0.1, e; at temperature 0.5 their squares; top_k 1 keeps the first alone."""
    params = {"temperature": 0.5, "top_k": 1}
    raw = math.exp(2) / (math.exp(2) + 2 * math.exp(1) + math.exp(0.1))
    tempered = math.exp(4) / (math.exp(4) + 2 * math.exp(2) + math.exp(0.2))
    for mode, probability in (("raw", raw), ("tempered", tempered), ("processed", 1.0)):
        assert described(params, 0, mode=mode).logprob == pytest.approx(math.log(probability), abs=1e-6)
        assert described(params, 0, mode=mode).kept == 1


def test_raw_knows_no_bias_and_tempered_does():
    params = {"logit_bias": {2: 1.9}}
    assert described(params, 0, mode="raw") == described({}, 0, mode="raw")
    tempered = described(params, 2, top=1, mode="tempered")
    assert tempered.top_ids == (0,)
    assert tempered.logprob == pytest.approx(tempered.top_logprobs[0], abs=1e-6)


def test_bans_of_stop_tokens_are_seen_by_tempered_and_not_by_raw():
    params = {"min_tokens": 1}
    assert described(params, 1, top=5, mode="raw", eos=(0,)).top_ids == (0, 1, 3, 2)
    assert described(params, 1, top=5, mode="tempered", eos=(0,)).top_ids == (1, 3, 2)
    assert described(params, 1, eos=(0,)).kept == 3


@pytest.mark.parametrize("mode", ["tempered", "processed"])
def test_at_temperature_zero_the_drawn_token_is_certain(mode):
    found = described({"temperature": 0.0}, 0, top=3, mode=mode)
    assert (found.logprob, found.top_ids, found.top_logprobs, found.entropy, found.kept) == (0.0, (0,), (0.0,), 0.0, 1)


def test_at_temperature_zero_raw_is_the_models_distribution():
    found, plain = described({"temperature": 0.0}, 0, top=3), described({}, 0, top=3)
    assert (found.logprob, found.top_ids, found.entropy) == (plain.logprob, plain.top_ids, plain.entropy)
    assert found.kept == 1


@pytest.mark.parametrize("top", [0, 1, 2, 3, 4, 5, 20])
def test_more_tokens_are_not_named_than_could_be_drawn(top):
    assert described({}, 0, top=top).top_ids == (0, 1, 3, 2)[:top]
    assert described({"top_k": 2}, 0, top=top, mode="processed").top_ids == (0, 1, 3)[:top]


def test_the_lower_id_is_named_first_of_those_that_tie():
    logits = np.zeros(50, np.float32)
    logits[[7, 30]] = 1.0
    assert described({}, 0, top=5, logits=logits).top_ids == (7, 30, 0, 1, 2)


@pytest.mark.parametrize("mode", ["tempered", "processed"])
def test_below_float32_the_best_token_is_certain(mode):
    found = described({"temperature": 1e-45}, 0, top=3, mode=mode, logits=np.float32([9.0, 1.0, 0.0]))
    assert (found.logprob, found.top_ids, found.top_logprobs, found.entropy, found.kept) == (0.0, (0,), (0.0,), 0.0, 1)
    assert math.copysign(1.0, found.logprob) == math.copysign(1.0, found.entropy) == 1.0


def test_entropy_of_one_token_and_of_equal_ones():
    assert described({}, 0, logits=np.zeros(1, np.float32)).entropy == 0.0
    assert described({}, 0, logits=np.zeros(64, np.float32)).entropy == pytest.approx(math.log(64), rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_described_without_a_warning(bad):
    """Its numbers mean nothing; the row fails by its flag."""
    logits = np.float32([1.0, bad, 0.0])
    for mode in MODES:
        described({}, 0, top=2, mode=mode, logits=logits)
    described({"min_tokens": 1, "stop_token_ids": (0, 1, 2)}, 0, logits=LOGITS[:3], mode="tempered")


def test_a_token_that_torch_could_draw_is_never_impossible(torch_path):
    """Where a mass lies within rounding of top_p, NumPy's own bound may be narrower than that of who drew."""
    logits, wider = np.random.default_rng(3).normal(0.0, 0.5, (1, 5000)).astype(np.float32), 0
    masses = np.cumsum(np.sort(np.exp(logits[0].astype(np.float64)))[::-1])
    for top_p in (masses / masses[-1])[100:4900:24]:
        row = rows_of([SamplingParams(top_p=float(top_p))], 5000)
        drawable = np.flatnonzero(TORCH.kept(logits, row)[0])
        farthest = int(drawable[np.argmin(logits[0, drawable])])
        found = token_logprobs(logits[0], row, TORCH.sample(logits, row).kept, farthest, 0, "processed")
        assert math.isfinite(found.logprob)
        assert found.kept == len(drawable)
        wider += len(drawable) > NUMPY.kept(logits, row).sum()
    assert wider  # else nothing was tested
