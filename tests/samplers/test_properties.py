"""Laws of the chain, over whatever hypothesis finds; and a row alone against the row in any batch, bit for bit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from samplers.logprobs import token_logprobs
from samplers.noise import gumbel_noise
from samplers.params import SamplingParams
from samplers.xp import namespace
from tests import reference
from tests.samplers.conftest import DYNAMIC, LAWS, NUMPY, TORCH, random_logits, rows_of

FINITE = st.integers(-20 * 64, 20 * 64).map(lambda steps: steps / 64)
LOGITS = st.lists(FINITE, min_size=1, max_size=40)
WITH_BANNED = st.lists(st.one_of(FINITE, st.just(-math.inf)), max_size=40).map(lambda logits: [*logits, 0.0])
TEMPERATURES = st.sampled_from([1e-45, 1e-8, 0.1, 0.7, 1.0, 1.5, 4.0, 1e8, 1e308])
SHARES = st.integers(1, 1000).map(lambda thousandths: thousandths / 1000)
CUTOFFS = st.integers(0, 999).map(lambda thousandths: thousandths / 1000)
TRUNCATIONS = st.fixed_dictionaries(
    {"temperature": TEMPERATURES},
    optional={
        "order": st.sampled_from(["hf", "vllm", "llamacpp"]),
        "top_n_sigma": st.sampled_from([0.0, 0.1, 1.0, 2.5, 1e9]),
        "top_k": st.integers(0, 45),
        "top_p": SHARES,
        "min_p": SHARES | st.just(0.0),
        "typical_p": SHARES,
        "epsilon_cutoff": CUTOFFS,
        "eta_cutoff": CUTOFFS,
        "xtc_probability": st.sampled_from([0.0, 0.5, 1.0]),
        "xtc_threshold": CUTOFFS,
    },
)
# Rules that keep the best tokens: typical_p and XTC may remove just these.
OF_THE_BEST = TRUNCATIONS.filter(lambda params: not {"typical_p", "xtc_probability"} & set(params))
LIMITS = {  # how a limit is made of a share, and whether it grows looser with it
    "top_k": (lambda share: math.ceil(share * 45), True),
    "top_p": (float, True),
    "typical_p": (float, True),
    "top_n_sigma": (lambda share: 4 * share, True),
    "min_p": (float, False),
    "epsilon_cutoff": (lambda share: share * 0.999, False),
    "eta_cutoff": (lambda share: share * 0.999, False),
}


@pytest.fixture(params=["numpy", "torch with kernels"])
def xp(request, choose_kernels):
    """Run a law on the two that have code of their own; test_parity.py says that the others agree with them."""
    choose_kernels(request.param == "torch with kernels")
    return NUMPY if request.param == "numpy" else TORCH


def kept(xp, logits, **params):
    row = np.float32([logits])
    return set(np.flatnonzero(xp.kept(row, rows_of([SamplingParams(**params)], len(logits), prompt=(0,)))[0]))


@given(logits=WITH_BANNED, params=TRUNCATIONS)
@LAWS
def test_something_is_kept_and_no_banned_token_and_what_is_drawn_was_kept(xp, logits, params):
    row, state = np.float32([logits]), rows_of([SamplingParams(**params)], len(logits), prompt=(0,))
    found, sampled = set(np.flatnonzero(xp.kept(row, state)[0])), xp.sample(row, state)
    assert found
    assert found <= {token for token, logit in enumerate(logits) if logit > -math.inf}
    assert sampled.token_ids[0] in found
    assert sampled.finite[0]


@given(logits=WITH_BANNED, params=OF_THE_BEST)
@LAWS
def test_the_best_tokens_are_always_kept_and_banned_ones_never(xp, logits, params):
    best = {token for token, logit in enumerate(logits) if logit == max(logits)}
    possible = {token for token, logit in enumerate(logits) if logit > -math.inf}
    assert best <= kept(xp, logits, **params) <= possible


@given(logits=WITH_BANNED, temperature=st.sampled_from([0.1, 0.7, 1.0, 4.0, 1e308]))
@LAWS
def test_the_defaults_keep_everything(xp, logits, temperature):
    possible = {token for token, logit in enumerate(logits) if logit > -math.inf}
    assert kept(xp, logits, temperature=temperature) == possible


@pytest.mark.parametrize("name", LIMITS)
@given(logits=LOGITS, pair=st.tuples(SHARES, SHARES))
@LAWS
def test_a_looser_limit_keeps_more(xp, name, logits, pair):
    limit, looser = LIMITS[name]
    tight, loose = (limit(share) for share in sorted(pair, reverse=not looser))
    assert kept(xp, logits, **{name: tight}) <= kept(xp, logits, **{name: loose})


@given(logits=LOGITS, params=TRUNCATIONS)
@LAWS
def test_tokens_of_one_logit_are_kept_together(xp, logits, params):
    twice = [*logits, *logits]
    found = kept(xp, twice, **params)
    assert {token % len(logits) for token in found if token < len(logits)} == {
        token - len(logits) for token in found if token >= len(logits)
    }


@given(logits=LOGITS, params=TRUNCATIONS, random=st.randoms(use_true_random=False))
@LAWS
def test_the_order_of_the_vocabulary_is_nothing(xp, logits, params, random):
    params |= {"xtc_probability": round(params.get("xtc_probability", 0.0))}  # no coin: it is the seed's
    assume(reference.distribution(logits, **params).slack > 1e-5)  # else sums in another order may round over a limit
    order = random.sample(range(len(logits)), len(logits))
    permuted = kept(xp, [logits[token] for token in order], **params)
    assert {order[token] for token in permuted} == kept(xp, logits, **params)


@given(logits=LOGITS, seed=st.integers(0, 2**63 - 1), tiny=st.sampled_from([0.0, 1e-45, 1e-30, 1e-8, 1e-4]))
@LAWS
def test_temperatures_towards_zero_are_argmax(xp, logits, seed, tiny):
    """Logits lie 1/64 apart or tie: below T 1e-4 the noise, of at most 25, cannot lift one over another."""
    state = rows_of([SamplingParams(temperature=tiny, seed=seed)], len(logits), prompt=(0,))
    drawn = int(xp.sample(np.float32([logits]), state).token_ids[0])
    assert logits[drawn] == max(logits)
    if tiny == 0.0:
        assert drawn == logits.index(max(logits))


@given(logits=LOGITS, pair=st.tuples(st.floats(0.01, 100.0), st.floats(0.01, 100.0)))
@LAWS
def test_entropy_grows_with_temperature(logits, pair):
    cold, hot = sorted(pair)
    row = np.float32(logits)
    states = [rows_of([SamplingParams(temperature=t)], len(logits), prompt=(0,)) for t in (cold, hot)]
    drawn_from = [NUMPY.sample(row[None], state).kept for state in states]
    colder, hotter = (
        token_logprobs(row, state, among, 0, 0, "tempered").entropy
        for state, among in zip(states, drawn_from, strict=True)
    )
    assert -1e-12 <= colder <= hotter + 1e-5
    assert hotter <= math.log(len(logits)) + 1e-9


@given(logits=LOGITS, shift=st.integers(-1000, 1000), params=TRUNCATIONS)
@LAWS
def test_adding_a_number_to_all_logits_draws_the_same_token(xp, logits, shift, params):
    rows = np.float32([logits, [logit + shift for logit in logits]])
    state = rows_of([SamplingParams(**params)], len(logits), prompt=(0,)).take(np.array([0, 0]))
    assert len(set(xp.sample(rows, state).token_ids.tolist())) == 1


PENALTIES = st.fixed_dictionaries(
    {},
    optional={
        "repetition_penalty": st.sampled_from([0.5, 1.3]),
        "frequency_penalty": st.sampled_from([-0.3, 1.7]),
        "no_repeat_ngram_size": st.integers(0, 3),
        "dry_multiplier": st.sampled_from([0.0, 0.7]),
        "bad_words": st.just(((0,), (0, 0))),
    },
)
MIXED = st.tuples(TRUNCATIONS, PENALTIES).map(lambda pair: pair[0] | pair[1])


@given(rows=st.lists(MIXED, min_size=2, max_size=5), vocab_size=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
@settings(LAWS, max_examples=25)
def test_a_row_alone_is_the_row_in_any_batch(xp, rows, vocab_size, seed):
    logits = random_logits(len(rows), vocab_size, seed)
    text = np.random.default_rng(seed).integers(0, min(vocab_size, 3), 12).tolist()
    params = [SamplingParams(seed=seed, **row) for row in rows]
    state = rows_of(params, vocab_size, prompt=text[:8], generated=text[8:])
    tokens, distances = xp.sample(logits, state).token_ids, xp.distance(logits, state)
    backwards = np.arange(len(rows))[::-1].copy()
    assert np.array_equal(xp.sample(logits[backwards], state.take(backwards)).token_ids, tokens[backwards])
    for row in range(len(rows)):
        alone = state.take(np.array([row]))
        assert np.array_equal(xp.distance(logits[[row]], alone)[0], distances[row], equal_nan=True)
        assert xp.sample(logits[[row]], alone).token_ids[0] == tokens[row]


def test_a_row_alone_is_the_row_in_a_batch_of_a_real_vocabulary(torch_path, threads):
    """Rows this long are split among threads when they are alone."""
    threads(2)
    vocab_size = 50_257
    logits = np.random.default_rng(2).normal(0.0, 1.0, (4, vocab_size)).astype(np.float32)
    state = rows_of([SamplingParams(top_p=p) for p in (0.3, 0.7, 0.9, 0.99)], vocab_size)
    noise = TORCH(gumbel_noise, state.key0, state.key1, state.step, vocab_size=vocab_size)
    distances, sums = TORCH.distance(logits, state), TORCH(weight_sums, logits)
    for row in range(4):
        alone = state.take(np.array([row]))
        assert np.array_equal(TORCH(weight_sums, logits[[row]])[0], sums[row])
        assert np.array_equal(TORCH.distance(logits[[row]], alone)[0], distances[row])
        again = TORCH(gumbel_noise, alone.key0, alone.key1, alone.step, vocab_size=vocab_size)
        assert np.array_equal(again[0], noise[row])


def weight_sums(logits):
    xp = namespace(logits)
    return xp.sum(xp.exp(logits - xp.max(logits)))


@pytest.mark.usefixtures("cpu_kernels")  # where these cannot be built, Inductor's code cannot either
def test_the_compiled_sum_of_a_row_alone_is_that_of_the_row_in_a_batch(torch_path, threads):
    threads(2)
    logits = np.random.default_rng(2).normal(0.0, 1.0, (8, 50_257)).astype(np.float32)
    compiled = torch.compile(weight_sums, fullgraph=True)
    together = DYNAMIC(compiled, logits)
    for row in range(8):
        assert np.array_equal(TORCH(compiled, logits[[row]])[0], together[row])
