"""Pairwise distance, Vendi score and compression ratio: known answers, closed forms and laws."""

import itertools
import math
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplers.diversity import compression_ratio, distance_error, pairwise_distance, similarity, vendi
from tests.samplers.conftest import LAWS
from tests.samplers.texts import KNOWN, disjoint, text_sets

UNIGRAMS = similarity(KNOWN, [1])


def cosine(first, second, n):
    """Compute one cosine from two Counters; a text without an n-gram counts as one, itself."""
    one, other = (Counter(zip(*(text[start:] for start in range(n)), strict=False)) for text in (first, second))
    one, other = one or Counter([tuple(first)]), other or Counter([tuple(second)])
    shared = math.fsum(count * other[gram] for gram, count in one.items())
    return shared / math.sqrt(sum(c * c for c in one.values()) * sum(c * c for c in other.values()))


def distance_by_hand(texts):
    pairs = itertools.combinations(texts, 2)
    return np.mean([1 - (cosine(a, b, 1) + cosine(a, b, 2)) / 2 for a, b in pairs])


def equicorrelated(count, correlation):
    return np.full((count, count), correlation) + (1 - correlation) * np.eye(count)


def equicorrelated_vendi(count, correlation):
    """Give the closed form: one eigenvalue 1 + (N - 1) s, and N - 1 of 1 - s."""
    great, small = (1 + (count - 1) * correlation) / count, (1 - correlation) / count
    return math.exp(-great * math.log(great) - (count - 1) * small * math.log(small))


def test_the_distance_of_the_known_set():
    assert pairwise_distance(UNIGRAMS) == pytest.approx(0.4149395, abs=1e-7)
    assert pairwise_distance(similarity(KNOWN)) == pytest.approx(distance_by_hand(KNOWN), rel=1e-12)


def test_the_error_of_the_known_set_and_the_distances_that_it_is_made_of():
    left_out = [0.509437, 0.467771, 0.166667, 0.515883]
    for place, distance in enumerate(left_out):
        rest = [text for other, text in enumerate(KNOWN) if other != place]
        assert pairwise_distance(similarity(rest, [1])) == pytest.approx(distance, abs=1e-6)
    assert distance_error(UNIGRAMS) == pytest.approx(0.2503248, abs=1e-7)


@LAWS
@given(text_sets(least=2))
def test_the_distance_is_the_mean_over_pairs(texts):
    assert pairwise_distance(similarity(texts)) == pytest.approx(distance_by_hand(texts), rel=1e-9, abs=1e-12)


@LAWS
@given(text_sets(least=3))
def test_the_error_is_the_jackknife_of_the_distance(texts):
    count = len(texts)
    without = [pairwise_distance(similarity([*texts[:place], *texts[place + 1 :]])) for place in range(count)]
    by_hand = math.sqrt((count - 1) / count * np.sum((without - np.mean(without)) ** 2))
    assert distance_error(similarity(texts)) == pytest.approx(by_hand, rel=1e-6, abs=1e-9)


def test_the_distance_does_not_drift_with_the_number_of_texts():
    """The mean distance over all fours of twelve texts is that of the twelve, but for rounding: it is unbiased."""
    noise = np.random.default_rng(3)
    kernel = similarity([noise.integers(0, 9, 15).tolist() for _ in range(12)])
    fours = [pairwise_distance(kernel[np.ix_(four, four)]) for four in itertools.combinations(range(12), 4)]
    assert np.mean(fours) == pytest.approx(pairwise_distance(kernel), rel=1e-12)


@pytest.mark.parametrize(
    ("kernel", "score", "within"),
    [
        ([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]], 2.1573005, 1e-7),
        (equicorrelated(2, 0.5), 1.7547654, 1e-7),
        (equicorrelated(2, 0.9), 1.2195906, 1e-7),
        (equicorrelated(4, 0.5), 2.9257266, 1e-7),
        (equicorrelated(10, 0.9), 1.6491963, 1e-7),
        (np.exp(-np.abs(np.subtract.outer([0, 0, 10, 10, 20, 20], [0, 0, 10, 10, 20, 20]))), 3.0, 1e-4),
        (UNIGRAMS, 2.2469988, 1e-7),
        (similarity(KNOWN, [2]), 2.9847177, 1e-7),
        (similarity(KNOWN), 2.6743266, 1e-7),
    ],
)
def test_known_vendi_scores(kernel, score, within):
    assert vendi(np.array(kernel)) == pytest.approx(score, abs=within)


@pytest.mark.parametrize("count", [2, 7, 64])
@pytest.mark.parametrize("correlation", [0.01, 0.5, 0.99])
def test_the_closed_form_of_equal_similarities(count, correlation):
    assert vendi(equicorrelated(count, correlation)) == pytest.approx(equicorrelated_vendi(count, correlation))


def test_the_known_set_compressed():
    """90 bytes to 58; other builds of zlib may differ by a few."""
    texts = [" ".join(text) for text in KNOWN]
    assert 90 / 61 <= compression_ratio(texts) <= 90 / 55
    assert compression_ratio(texts) == 90 / len(zlib.compress(b"\n".join(text.encode() for text in texts), 9))


def test_compression_counts_bytes_of_utf_8_and_rises_with_repetition():
    assert compression_ratio(["été"]) == 5 / len(zlib.compress("été".encode(), 9))
    varied = ["".join(map(chr, np.random.default_rng(seed).integers(97, 123, 200))) for seed in range(8)]
    assert compression_ratio([varied[0]] * 8) > 4 * compression_ratio(varied)


@pytest.mark.parametrize("text", [["a"], ["a", "b"], list("abcdef"), ["a"] * 9])
@pytest.mark.parametrize("count", [2, 3, 33])
def test_equal_texts_are_one(text, count):
    kernel = similarity([text] * count)
    assert pairwise_distance(kernel) == 0
    assert vendi(kernel) == pytest.approx(1, abs=1e-9)
    assert distance_error(kernel) in (0, None)


@pytest.mark.parametrize("count", [2, 3, 33])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_disjoint_texts_are_as_many_as_they_are(count, length):
    kernel = similarity(disjoint(count, length))
    assert pairwise_distance(kernel) == 1
    assert vendi(kernel) == pytest.approx(count)


@LAWS
@given(text_sets(least=2), st.randoms(use_true_random=False))
def test_no_metric_knows_the_order_of_texts(texts, random):
    shuffled = random.sample(texts, len(texts))
    kernel, other = similarity(texts), similarity(shuffled)
    assert pairwise_distance(other) == pytest.approx(pairwise_distance(kernel), abs=1e-12)
    assert vendi(other) == pytest.approx(vendi(kernel), rel=1e-9)
    assert 0 <= pairwise_distance(kernel) <= 1
    assert 1 - 1e-9 <= vendi(kernel) <= len(texts) + 1e-9


@LAWS
@given(text_sets(least=1), st.integers(1, 3))
def test_similarities_are_cosines_with_a_diagonal_of_1(texts, n):
    kernel = similarity(texts, [n])
    assert np.all(np.diagonal(kernel) == 1)
    assert np.array_equal(kernel, kernel.T)
    assert np.min(np.linalg.eigvalsh(kernel)) > -1e-9
    for (row, first), (column, second) in itertools.product(enumerate(texts), repeat=2):
        assert kernel[row, column] == pytest.approx(cosine(first, second, n), abs=1e-12)


def test_a_text_shorter_than_n_is_like_its_equal_alone():
    kernel = similarity([["a"], ["a"], ["b"], [], [], ["a", "a"]], [2])
    assert kernel.tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_too_few_texts_have_no_value():
    one, two = similarity([list("abc")]), similarity([list("abc"), list("abd")])
    assert pairwise_distance(one) is None
    assert vendi(one) is None
    assert distance_error(two) is None
    assert pairwise_distance(similarity([])) is None
    assert vendi(similarity([])) is None
    assert compression_ratio([]) is None
    assert compression_ratio(["", ""]) is None
    assert compression_ratio(["", "a"]) == 2 / len(zlib.compress(b"\na", 9))
