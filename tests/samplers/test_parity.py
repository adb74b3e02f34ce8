"""The chain in NumPy, torch and compiled torch, on mixed rows, against the oracle and each other."""

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from samplers.params import SamplingParams
from tests import reference
from tests.samplers.conftest import DYNAMIC, NUMPY, PROMPT, TORCH, random_logits, rows_of, step

VOCAB_SIZE = 211  # no multiple of what a kernel takes at once
EOS = (2, 5)
STEP = 3
CLEAR = 2e-5  # decisions further than this from their boundary are beyond the rounding of float32


def mixed_params(vocab_size, rows=64):
    """Mix the parameters so that every pair of them meets; biases are exact in float32."""
    random = np.random.default_rng(17)
    pick = random.choice
    roomy = vocab_size > max(EOS)
    return [
        SamplingParams(
            temperature=float(pick([0.0, 0.05, 0.5, 1.0, 1.5, 4.0, 30.0])),
            top_k=int(pick([0, 0, 1, 5, 40, vocab_size, 10**9])),
            top_p=float(pick([1.0, 1.0, 0.1, 0.5, 0.95])),
            min_p=float(pick([0.0, 0.0, 0.01, 0.3, 1.0])),
            logit_bias={int(pick(vocab_size)): float(pick([-100.0, -1.5, 2.0, 100.0])) for _ in range(pick(3))},
            min_tokens=int(pick([0, STEP, STEP + 1])) if roomy else 0,
            stop_token_ids=tuple(range(pick(3))) if roomy else (),
            ignore_eos=bool(pick(2)),
            seed=int(random.integers(2**63)),
        )
        for _ in range(rows)
    ]


def eos_of(vocab_size):
    return tuple(token_id for token_id in EOS if token_id < vocab_size)


def oracle(logits, params, sample_index):
    banned = params.stop_ids(eos_of(len(logits))) if params.min_tokens > STEP else ()
    names = ("temperature", "top_k", "top_p", "min_p", "logit_bias")
    among = reference.distribution(logits.tolist(), banned=banned, **{name: getattr(params, name) for name in names})
    token, lead = reference.draw(among, reference.row_key(params.seed, PROMPT, sample_index), STEP)
    if params.temperature == 0.0:
        token, lead = next(iter(among.kept)), among.slack
    return among, token, lead


@pytest.mark.parametrize("vocab_size", [1, 2, 16, 17, VOCAB_SIZE, 1000])
def test_every_row_is_the_oracles(xp, vocab_size):
    """Where a decision is clear, which it is in nine of ten rows and more."""
    params = mixed_params(vocab_size)
    logits, state = (
        random_logits(len(params), vocab_size),
        rows_of(params, vocab_size, eos=eos_of(vocab_size), step=STEP),
    )
    sampled, kept = xp.sample(logits, state), xp.kept(logits, state)
    clear = 0
    for row, asked in enumerate(params):
        among, token, lead = oracle(logits[row], asked, row)
        if among.slack > CLEAR and asked.temperature > 0.0:
            assert set(np.flatnonzero(kept[row])) == among.kept, asked
        if min(among.slack, lead) > CLEAR:
            assert sampled.token_ids[row] == token, asked
            clear += 1
    assert sampled.finite.all()
    assert clear >= 0.9 * len(params)


def mixed_rows():
    params = mixed_params(VOCAB_SIZE)
    return random_logits(len(params), VOCAB_SIZE), rows_of(params, VOCAB_SIZE, eos=EOS, step=STEP)


def test_numpy_and_torch_agree_on_distances_and_tokens(torch_path):
    logits, state = mixed_rows()
    assert np.array_equal(NUMPY.distance(logits, state), TORCH.distance(logits, state))
    assert np.array_equal(NUMPY.sample(logits, state).token_ids, TORCH.sample(logits, state).token_ids)


SOME_ROWS = (np.arange(5), np.arange(64), np.array([9, 3]), np.array([*range(40, 60), 1, 1]))


def test_compiled_torch_agrees_with_numpy_in_one_program_for_all_rows(compiled_step, programs):
    logits, state = mixed_rows()
    everything = NUMPY(step, logits, state)
    for rows in SOME_ROWS:
        for compiled, numpy in zip(compiled_step(logits[rows], state.take(rows)), everything, strict=True):
            assert np.array_equal(compiled, numpy[rows])
    assert programs.frame_count == 1


def test_the_chain_without_kernels_is_one_graph(choose_kernels):
    """Traced, not compiled: Inductor takes a minute for the passes of the bisections."""
    choose_kernels(False)
    logits, state = mixed_rows()
    programs = CompileCounter()
    traced = torch.compile(step, fullgraph=True, backend=programs)
    everything = TORCH(step, logits, state)
    for rows in SOME_ROWS:
        for drawn, eager in zip(DYNAMIC(traced, logits[rows], state.take(rows)), everything, strict=True):
            assert np.array_equal(drawn, eager[rows])
    assert programs.frame_count == 1
