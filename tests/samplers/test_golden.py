"""Kept sets against the warpers of transformers, in their order, alone and together, on real vocabularies.

Both sum probabilities in float32, transformers in running sums over all tokens, so where a mass meets a limit within
rounding they may part. Such a row is settled in float64: every token in which Kelvin differs from it must be decided by
less than 2e-6, and rows in which it does must be few.
"""

import numpy as np
import pytest
import torch
from transformers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from samplers.params import SamplingParams
from tests import reference
from tests.samplers.conftest import TORCH, rows_of

TIE = 2e-6
ROWS = {("kernels", 49_152): 180, ("kernels", 151_936): 20, ("plain", 49_152): 8, ("plain", 151_936): 2}
ASKED = {  # at least five settings of each, of as many rows
    "temperature": [{"temperature": t} for t in (0.1, 0.7, 1.0, 1.5, 10.0)],
    "top_k": [{"top_k": k} for k in (1, 2, 50, 1000, 30_000)],
    "top_p": [{"top_p": p} for p in (0.01, 0.5, 0.9, 0.95, 0.99)],
    "min_p": [{"min_p": p} for p in (0.001, 0.02, 0.1, 0.5, 1.0)],
    "typical_p": [{"typical_p": p} for p in (0.05, 0.2, 0.5, 0.9, 0.99)],
    "epsilon_cutoff": [{"epsilon_cutoff": p} for p in (1e-5, 3e-4, 3e-3, 0.05, 0.5)],
    "eta_cutoff": [{"eta_cutoff": p} for p in (1e-5, 3e-4, 3e-3, 0.05, 0.5)],
    "together": [
        {"temperature": 0.7, "top_k": 50, "top_p": 0.9, "min_p": 0.05},
        {"temperature": 1.5, "top_k": 1000, "top_p": 0.95, "min_p": 0.01},
        {"temperature": 0.3, "top_p": 0.8, "min_p": 0.1},
        {"temperature": 2.0, "top_k": 20_000, "top_p": 0.5},
        {"temperature": 1.2, "top_k": 100, "min_p": 0.2},
        {"temperature": 1.3, "top_k": 5000, "top_p": 0.95, "min_p": 0.001, "typical_p": 0.9, "epsilon_cutoff": 1e-4},
        {"temperature": 0.9, "top_p": 0.98, "typical_p": 0.5, "epsilon_cutoff": 1e-5, "eta_cutoff": 2e-3},
    ],
}


def warped(logits, params):
    """Return what transformers keeps."""
    warpers = {
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
        "typical_p": TypicalLogitsWarper,
        "epsilon_cutoff": EpsilonLogitsWarper,
        "eta_cutoff": EtaLogitsWarper,
    }
    scores = torch.from_numpy(logits)
    for name, warper in warpers.items():
        if name in params:
            scores = warper(params[name])(None, scores)
    return np.isfinite(scores.numpy())


def logits_of_all_shapes(rows, vocab_size, seed):
    """Draw rows from nearly flat to peaked."""
    random = np.random.default_rng(seed)
    scales = np.geomspace(0.3, 6.0, rows)[:, None]
    return (random.standard_normal((rows, vocab_size), np.float32) * scales).astype(np.float32)


@pytest.mark.parametrize("vocab_size", [49_152, 151_936])
@pytest.mark.parametrize("name", ASKED)
def test_kept_sets_are_those_of_transformers(torch_path, name, vocab_size, record_property):
    rows, parted, ties = ROWS[torch_path, vocab_size], 0, 0
    for seed, params in enumerate(ASKED[name]):
        logits = logits_of_all_shapes(rows, vocab_size, seed)
        state = rows_of([SamplingParams(**params)], vocab_size).take(np.zeros(rows, np.int64))
        kept = TORCH.kept(logits, state)
        for row in np.flatnonzero((kept != warped(logits, params)).any(axis=1)):
            exact = reference.distribution(logits[row].tolist(), **params)
            assert surplus_is_a_tie(logits[row], params, kept[row], exact), (params, row)
            parted, ties = parted + 1, ties + bool((kept[row] != np.isfinite(exact.distance)).any())
    record_property("parted", parted)
    record_property("ties", ties)
    assert parted <= 1 + 0.3 * rows * len(ASKED[name])
    assert ties <= 1 + 0.05 * rows * len(ASKED[name])


def surplus_is_a_tie(logits, params, kept, exact):
    """Say whether every token in which a kept set differs from float64 lies on its boundary, in mass or in distance.

    A rule after another one moves with what the first has kept: then any token of a near decision before it may part.
    """
    tempered = (logits.max() - logits.astype(np.float64)) / params.get("temperature", 1.0)
    ends = [d for d in exact.distance if d < np.inf]
    wrong = np.flatnonzero(kept != np.isfinite(exact.distance))
    return all(
        exact.margin[token] < TIE
        or any(abs(tempered[token] - end) < TIE * max(1.0, end) for end in (min(ends), max(ends)))
        for token in wrong
    )


def test_transformers_breaks_ties_at_top_p_by_position_and_kelvin_keeps_them_all(torch_path):
    logits = np.float32([[1.0, 0.0, 0.0, 0.0]])
    params = {"top_p": 0.6}  # probabilities 0.48 and three of 0.17
    assert TORCH.kept(logits, rows_of([SamplingParams(**params)], 4)).sum() == 4
    assert warped(logits, params).sum() == 2
    assert reference.distribution(logits[0].tolist(), **params).kept == {0, 1, 2, 3}
