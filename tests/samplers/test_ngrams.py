"""n-grams: words, distinct-n, and inner products of counts against those of Counter."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.util import ngrams as nltk_ngrams

from samplers.ngrams import distinct, inner_products, ngrams, words
from tests.samplers.conftest import LAWS
from tests.samplers.texts import KNOWN, disjoint, text_sets


def by_hand(bags):
    counted = [Counter(bag) for bag in bags]
    return [[sum(own[item] * other[item] for item in own) for other in counted] for own in counted]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The cat's 2nd hat, no?", ["the", "cat", "'", "s", "2nd", "hat", ",", "no", "?"]),
        ("ÉTÉ\n\tété", ["été", "été"]),
        ("Это кот", ["это", "кот"]),
        ("...", [".", ".", "."]),
        (" \n\t", []),
        ("", []),
    ],
)
def test_words_are_lower_case_and_marks_stand_alone(text, found):
    assert words(text) == found


@LAWS
@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 5))
def test_nltk_lists_the_same(sequence, n):
    assert ngrams(sequence, n) == list(nltk_ngrams(sequence, n))


@pytest.mark.parametrize(("n", "share"), [(1, 11 / 24), (2, 13 / 20), (3, 11 / 16), (4, 9 / 12)])
def test_distinct_n_of_the_known_set(n, share):
    assert distinct(KNOWN, n) == pytest.approx(share, rel=1e-15)


def test_distinct_counts_each_once_and_not_only_those_that_occur_once():
    assert distinct([["a", "a", "b"]], 1) == 2 / 3


def test_no_ngram_crosses_from_one_text_to_the_next():
    assert distinct([["a", "b"], ["a", "b"]], 2) == 1 / 2  # joined, "b a" would be a second


@LAWS
@given(text_sets(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_distinct_knows_no_order_of_texts(texts, n, random):
    shuffled = random.sample(texts, len(texts))
    assert distinct(shuffled, n) == distinct(texts, n)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_distinct_of_equal_and_of_disjoint_texts(n):
    text = list("abcdef")
    assert distinct([text] * 5, n) == 1 / 5
    assert distinct(disjoint(5), n) == 1


def test_where_nothing_is_long_enough_there_is_no_share():
    assert distinct([], 1) is None
    assert distinct([[], []], 1) is None
    assert distinct([["a"], ["b"]], 2) is None
    assert distinct([["a"], ["b", "c"]], 2) == 1


@LAWS
@given(text_sets(longest=12))
def test_inner_products_are_those_of_counts(bags):
    found = inner_products(bags)
    assert found.shape == (len(bags), len(bags))
    assert found.tolist() == by_hand(bags)


def test_inner_products_of_more_items_than_are_held_at_once():
    """Three bags over 10,000 items: every block of 4,096 counts, and so does the rest."""
    bags = [range(10_000), [*range(0, 10_000, 2)] * 2, [9_999, 4_095, 4_096, 9_999]]
    assert inner_products(bags).tolist() == [[10_000, 10_000, 4], [10_000, 20_000, 2], [4, 2, 6]]


def test_inner_products_of_sets_count_what_is_shared():
    assert np.array_equal(inner_products([{"a", "b"}, {"b", "c"}, set()]), [[2, 1, 0], [1, 2, 0], [0, 0, 0]])
    assert inner_products([]).shape == (0, 0)
