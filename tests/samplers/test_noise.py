"""The noise: published vectors, the same bits everywhere, its range, and nothing in common between streams."""

import math

import numpy as np
import pytest

from samplers import noise
from samplers.noise import gumbel_noise, row_key, threefry
from tests import reference
from tests.samplers.conftest import chi_square_z

ONES = 0xFFFFFFFF
PUBLISHED = [  # Random123, kat_vectors, threefry2x32 of 20 rounds: key, counter, result
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((ONES, ONES), (ONES, ONES), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]
SEEDS = (0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1)
PROMPTS = ((), (0,), (2**32 - 1,), (1, 2, 3), (3, 2, 1), tuple(range(1000)))


def signed(words):
    return np.array(words, np.uint32).view(np.int32)


def keys_of(seeds=(0,), prompts=((1, 2, 3),), samples=(0,)):
    keys = [row_key(seed, prompt, sample) for seed in seeds for prompt in prompts for sample in samples]
    return np.array(keys, np.int32).T


@pytest.mark.parametrize(("key", "counter", "result"), PUBLISHED)
def test_threefry_gives_the_published_words(xp, key, counter, result):
    words = xp(threefry, *(signed([word]) for word in (*key, *counter)))
    assert [int(word.view(np.uint32)[0]) for word in words] == list(result)


@pytest.mark.parametrize(("key", "counter", "result"), PUBLISHED)
def test_the_oracle_gives_the_published_words(key, counter, result):
    assert reference.threefry(key, counter) == result


def test_words_are_the_oracles_bits(xp):
    random = np.random.default_rng(5)
    arguments = signed(random.integers(0, 2**32, (4, 3000)))
    expected = [reference.threefry((int(a), int(b)), (int(c), int(d))) for a, b, c, d in arguments.view(np.uint32).T]
    words = xp(threefry, *arguments)
    assert np.array_equal(np.stack(words).view(np.uint32).T, expected)


@pytest.mark.parametrize("sample", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize("seed", SEEDS)
def test_row_keys_are_those_of_plain_integers(seed, prompt, sample):
    assert tuple(word & ONES for word in row_key(seed, prompt, sample)) == reference.row_key(seed, prompt, sample)


def test_a_key_takes_any_iterable_of_token_ids():
    assert row_key(7, iter([1, 2]), 0) == row_key(7, [1, 2], 0) == row_key(7, np.array([1, 2]), 0)


@pytest.mark.parametrize("vocab_size", [1, 2, 3, 16, 17, 211])
def test_noise_is_the_oracles_for_even_and_odd_vocabularies(xp, vocab_size):
    steps = np.array([0, 1, 2**31 - 1, 5], np.int32)
    keys = keys_of(seeds=(0, 9), samples=(0, 3))
    drawn = xp(gumbel_noise, *keys, steps, vocab_size=vocab_size)
    assert drawn.shape == (4, vocab_size)
    assert drawn.dtype == np.float32
    for row, step in enumerate(steps):
        key = tuple(int(word) & ONES for word in keys[:, row])
        expected = [reference.gumbel(word) for word in reference.noise_words(key, int(step), vocab_size)]
        np.testing.assert_allclose(drawn[row], expected, rtol=1e-6, atol=1e-6)


def test_noise_of_keys_that_do_not_lie_in_order(xp):
    keys, steps = keys_of(samples=range(4)), np.arange(8, dtype=np.int32)[::2]
    assert not keys[0].flags.c_contiguous
    in_order = xp(gumbel_noise, *map(np.ascontiguousarray, (*keys, steps)), vocab_size=50)
    assert np.array_equal(xp(gumbel_noise, *keys, steps, vocab_size=50), in_order)


def test_noise_stays_in_its_documented_range_at_the_ends_of_the_words(xp, choose_kernels, monkeypatch):
    choose_kernels(False)  # they make their own words
    ends = signed([0, 1, 2, 2**31 - 1, 2**31, 2**32 - 2**8, 2**32 - 2**7, 2**32 - 1])

    def extreme(key0, key1, counter0, counter1):
        words = xp.asarray(ends[None])
        return words, words

    monkeypatch.setattr(noise, "threefry", extreme)
    zero = np.zeros(1, np.int32)
    drawn = xp(gumbel_noise, zero, zero, zero, vocab_size=2 * len(ends))
    np.testing.assert_allclose(
        drawn[0, : len(ends)], [reference.gumbel(int(w)) for w in ends.view(np.uint32)], rtol=1e-6
    )
    assert drawn.min() == pytest.approx(-math.log(24 * math.log(2)), rel=1e-6)
    assert drawn.max() == pytest.approx(31 * math.log(2), rel=1e-6)
    assert -2.9 < drawn.min() < drawn.max() < 21.5


def uniform_noise(keys, steps=0, vocab_size=2**14):
    """Return the noise as uniform numbers, one row a stream."""
    steps = np.broadcast_to(np.int32(steps), keys[0].shape)
    return np.exp(-np.exp(-gumbel_noise(*keys, steps, vocab_size).astype(np.float64)))


@pytest.mark.parametrize(
    "streams",
    [
        {"samples": range(16)},
        {"seeds": range(16)},
        {"seeds": [2**i for i in range(16)]},
        {"prompts": [(1, 2, i) for i in range(16)]},
        {"prompts": [tuple(range(i)) for i in range(16)]},
    ],
    ids=["samples of one request", "neighbouring seeds", "seeds one bit apart", "prompts", "prefixes of a prompt"],
)
def test_streams_have_nothing_in_common(streams):
    """Correlations of 2^14 numbers have a deviation of 2^-7: one of 120 pairs is beyond 6 of them once in 4 million."""
    correlations = np.corrcoef(uniform_noise(keys_of(**streams)))[np.triu_indices(16, 1)]
    assert np.abs(correlations).max() < 6 / 2**7


def test_steps_and_the_two_words_of_a_block_have_nothing_in_common():
    """By the odds above, of 17 · 8 pairs: once in 4 million."""
    keys = np.repeat(keys_of(), 17, axis=1)
    drawn = uniform_noise(keys, np.arange(17))
    halves = np.concatenate([drawn[:, : 2**13], drawn[:, 2**13 :]])
    correlations = np.corrcoef(halves)[np.triu_indices(34, 1)]
    assert np.abs(correlations).max() < 6 / 2**6.5


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_noise_has_the_gumbel_distribution(seed):
    """2^19 numbers in 256 equally probable bins; beyond 5 deviations once in 3 million."""
    drawn = uniform_noise(keys_of(seeds=[seed]), vocab_size=2**19)
    counts = np.bincount((drawn[0] * 256).astype(int), minlength=256)
    assert chi_square_z(counts, np.full(256, 2.0**11)) < 5
