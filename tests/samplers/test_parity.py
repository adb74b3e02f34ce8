"""The chain in every framework, on rows that mix all parameters, against the oracle and each other."""

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from samplers.params import DynamicTemperature, SamplingParams
from tests.samplers.conftest import DYNAMIC, NUMPY, TORCH, random_logits, rows_of, step, tensorflow
from tests.samplers.oracle import expect

VOCAB_SIZE = 211  # no multiple of what a kernel takes at once
EOS = (2, 5)
CLEAR = 5e-5  # decisions further than this from their boundary are beyond the rounding of float32
HISTORIES = [((1, 2, 3), ()), ((0,), (0, 0)), ((4, 1, 2, 3, 4, 1, 2), (3, 5, 4, 1, 2)), ((7,) * 9, (7, 7, 6, 7))]


def mixed_params(vocab_size, rows=64, seed=17):
    """Mix the parameters so that every pair of them meets; most are off in each row, so that the others can be seen."""
    random = np.random.default_rng(seed)
    roomy = vocab_size > max(EOS)

    def pick(*values, off=None, use=1.0):
        return off if random.random() > use else values[random.integers(len(values))]

    def some(most, high=vocab_size):
        return tuple(int(token) for token in random.integers(high, size=random.integers(1, most + 1)))

    def row():
        dynamic = pick(*((0.2, 2.0, 1.0), (0.01, 1.5, 0.5), (0.9, 3.0, 2.0)), use=0.2)
        return SamplingParams(
            temperature=1.0 if dynamic else pick(0.0, 0.05, 0.5, 1.0, 1.5, 4.0, 30.0),
            dynamic_temperature=dynamic and DynamicTemperature(*dynamic),
            order=pick("hf", "vllm", "llamacpp"),
            top_n_sigma=pick(0.5, 1.0, 2.0, 10.0, off=0.0, use=0.3),
            top_k=pick(1, 5, 40, vocab_size, 10**9, off=0, use=0.4),
            top_p=pick(0.1, 0.5, 0.95, off=1.0, use=0.4),
            min_p=pick(0.01, 0.3, 1.0, off=0.0, use=0.4),
            typical_p=pick(0.1, 0.5, 0.9, 0.99, off=1.0, use=0.4),
            epsilon_cutoff=pick(1e-4, 0.01, 0.2, 0.9, off=0.0, use=0.3),
            eta_cutoff=pick(1e-4, 0.01, 0.2, 0.9, off=0.0, use=0.3),
            xtc_probability=pick(0.5, 1.0, off=0.0, use=0.4),
            xtc_threshold=pick(0.0, 0.05, 0.1, 0.4),
            repetition_penalty=pick(0.5, 1.3, 2.0, off=1.0, use=0.4),
            presence_penalty=pick(-0.5, 1.5, off=0.0, use=0.4),
            frequency_penalty=pick(-0.25, 0.75, 2.0, off=0.0, use=0.4),
            no_repeat_ngram_size=pick(1, 2, 3, 5, off=0, use=0.3),
            dry_multiplier=pick(0.5, 3.0, off=0.0, use=0.4),
            dry_base=pick(1.0, 1.75, 4.0),
            dry_allowed_length=pick(0, 1, 2, 4),
            logit_bias={token: pick(-100.0, -1.5, 2.0, 100.0) for token in pick(some(3), off=(), use=0.5)},
            allowed_token_ids=pick(some(40), some(2), use=0.2),
            bad_words=pick(((some(1)), some(3, min(vocab_size, 8)), (0, 0)), off=(), use=0.3),
            min_tokens=pick(0, 2, 5) if roomy else 0,
            stop_token_ids=tuple(range(pick(0, 1, 2))) if roomy else (),
            ignore_eos=pick(True, False),
            seed=int(random.integers(2**63)),
        )

    return [row() for _ in range(rows)]


def eos_of(vocab_size):
    return tuple(token_id for token_id in EOS if token_id < vocab_size)


def within(vocab_size, token_ids):
    return tuple(token_id % vocab_size for token_id in token_ids)


@pytest.mark.parametrize("vocab_size", [1, 2, 16, 17, VOCAB_SIZE, 1000])
def test_every_row_is_the_oracles(xp, vocab_size):
    """Where a decision is clear, which it is in nine of ten rows and more."""
    clear = count = 0
    for seed, history in enumerate(HISTORIES):
        prompt, generated = (within(vocab_size, token_ids) for token_ids in history)
        params = mixed_params(vocab_size, seed=seed)
        logits, eos = random_logits(len(params), vocab_size, seed), eos_of(vocab_size)
        state = rows_of(params, vocab_size, eos=eos, prompt=prompt, generated=generated)
        sampled, distances = xp.sample(logits, state), xp.distance(logits, state)
        for row, asked in enumerate(params):
            expected = expect(logits[row], asked, prompt=prompt, generated=generated, sample_index=row, eos=eos)
            assert sampled.finite[row] == bool(expected.among.kept), asked
            if not expected.among.kept:
                continue
            count += 1
            if expected.among.slack > CLEAR and asked.temperature > 0.0:
                assert_same_distances(distances[row], expected.among.distance, asked)
            if min(expected.among.slack, expected.lead) > CLEAR:
                assert sampled.token_ids[row] == expected.token, asked
                clear += 1
    assert clear >= 0.9 * count


def assert_same_distances(found, expected, asked):
    """Compare which distances are finite, and how far each of them lies from the least."""
    kept = np.isfinite(expected)
    assert np.array_equal(np.isfinite(found), kept), asked
    found, expected = (np.array(distances, np.float64)[kept] for distances in (found, expected))
    found, expected = found - found.min(), expected - expected.min()
    nothing = 1e-6 * found.max()  # beside far tokens, near ones lose their last bits
    rounding = 2e-5 if asked.dynamic_temperature is None else 1e-3  # an entropy near 0 is a small difference
    np.testing.assert_allclose(found, expected, rtol=rounding, atol=nothing, err_msg=str(asked))


def mixed_rows():
    params = mixed_params(VOCAB_SIZE)
    prompt, generated = HISTORIES[2]
    state = rows_of(params, VOCAB_SIZE, eos=EOS, prompt=prompt, generated=generated)
    return random_logits(len(params), VOCAB_SIZE), state


def test_numpy_and_torch_agree_on_distances_and_tokens(torch_path):
    logits, state = mixed_rows()
    assert np.array_equal(NUMPY.kept(logits, state), TORCH.kept(logits, state))
    np.testing.assert_allclose(NUMPY.distance(logits, state), TORCH.distance(logits, state), rtol=1e-6)
    assert np.array_equal(NUMPY.sample(logits, state).token_ids, TORCH.sample(logits, state).token_ids)


def test_xla_agrees_with_numpy_on_kept_tokens_and_draws():
    xla, (logits, state) = tensorflow(xla=True), mixed_rows()
    assert np.array_equal(xla.kept(logits, state), NUMPY.kept(logits, state))
    assert np.array_equal(xla.sample(logits, state).token_ids, NUMPY.sample(logits, state).token_ids)
    assert np.array_equal(xla.sample(logits, state).finite, NUMPY.sample(logits, state).finite)


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
