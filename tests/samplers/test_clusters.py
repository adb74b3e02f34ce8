"""Clusters of duplicates: rouge-score as the oracle of likeness, and NoveltyBench's rule by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from samplers.clusters import exact_duplicates, near_duplicates, sizes
from tests.samplers.conftest import LAWS

SCORER = rouge_scorer.RougeScorer(["rouge1"], use_stemmer=False)
VOCABULARY = ("the cat dog sat ran on in under a mat rug park and then it was").split()  # noqa: SIM905
texts = st.lists(st.lists(st.sampled_from("abcdef"), max_size=9).map(" ".join), max_size=9)


def alike(first, second):
    """Say whether NoveltyBench would put two texts in one class: by half the words up to five, else by ROUGE-1."""
    words, others = first.split(), second.split()
    longer = max(len(words), len(others))
    if not words or not others:
        return words == others
    if longer <= 5:
        return 2 * len(set(words) & set(others)) >= longer
    return SCORER.score(first, second)["rouge1"].fmeasure > 0.458


def led(texts):
    leaders, labels = [], []
    for text in texts:
        label = next((number for number, leader in enumerate(leaders) if alike(leader, text)), len(leaders))
        leaders += [text] * (label == len(leaders))
        labels.append(label)
    return labels


@pytest.mark.parametrize("seed", range(40))
def test_rouge_score_finds_the_same_near_duplicates(seed):
    noise = random.Random(seed)
    found = [" ".join(noise.choices(VOCABULARY, k=noise.randint(1, 14))) for _ in range(12)]
    assert near_duplicates(found) == led(found)


@LAWS
@given(texts)
def test_short_and_repetitive_texts_too(found):
    assert near_duplicates(found) == led(found)


def test_a_pair_of_long_texts_on_either_side_of_the_bound():
    """Of 24 words each, 11 shared are ROUGE-1 F 0.458333, above 0.458; 10 are 0.4167."""
    first = [f"own{place}" for place in range(24)]
    eleven = [*first[:11], *(f"other{place}" for place in range(13))]
    ten = [*first[:10], *(f"other{place}" for place in range(14))]
    assert SCORER.score(" ".join(first), " ".join(eleven))["rouge1"].fmeasure == pytest.approx(11 / 24)
    assert near_duplicates([" ".join(first), " ".join(eleven)]) == [0, 0]
    assert near_duplicates([" ".join(first), " ".join(ten)]) == [0, 1]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("a b c d", "a b x y", True),  # 2 of 4
        ("a b c d e", "a b x y z", False),  # 2 of 5
        ("a", "a b", True),
        ("a", "a b c", False),
        ("a a a a", "a b c d", False),  # 1 word of 4, however often it is said
        ("a a x y", "a a b c", False),  # and however often both say it
        ("Paris.", "paris", True),
        ("", " \n", True),
        ("", "a", False),
        ("!?", "?!", False),
        ("!?", " !? ", True),
        ("das Geheimnis", "Das GEHEIMNIS!", True),
        ("это кот", "ЭТО, КОТ", True),
    ],
)
def test_short_answers(first, second, same):
    assert near_duplicates([first, second]) == [0, 0 if same else 1]
    assert near_duplicates([second, first]) == [0, 0 if same else 1]


def test_words_are_shared_as_often_as_both_have_them():
    """`a a a b c d` and `a e f g h i` share one a: 2 · 1 / 12; with four each, 2 · 4 / 12 = 0.67."""
    assert near_duplicates(["a a a b c d", "a e f g h i"]) == [0, 1]
    assert near_duplicates(["a a a a c d", "a a a a h i"]) == [0, 0]


def test_the_first_text_leads_its_cluster():
    """The second is like both others, which are not like each other: who comes first decides."""
    one, both, other = "a b c d", "c d e f", "e f g h"
    assert near_duplicates([one, both, other]) == [0, 0, 1]
    assert near_duplicates([both, one, other]) == [0, 0, 0]


def test_exact_duplicates_differ_by_case_and_white_space_at_most():
    assert exact_duplicates(["The cat", "the  CAT\n", "the cat.", " the cat", "STRASSE", "straße"]) == [
        0, 0, 1, 0, 2, 2,
    ]  # fmt: skip


@LAWS
@given(texts)
def test_exact_duplicates_are_near_ones_and_numbers_come_in_order(found):
    exact, near = exact_duplicates(found), near_duplicates(found)
    for labels in (exact, near):
        assert list(dict.fromkeys(labels)) == list(range(len(set(labels))))
        assert sum(sizes(labels)) == len(found)
    first = {}
    for own, label in zip(exact, near, strict=True):
        assert first.setdefault(own, label) == label


@LAWS
@given(texts, st.randoms(use_true_random=False))
def test_exact_clusters_know_no_order(found, random):
    shuffled = random.sample(found, len(found))
    assert sorted(sizes(exact_duplicates(shuffled))) == sorted(sizes(exact_duplicates(found)))


def test_equal_and_disjoint_texts():
    assert near_duplicates(["one and the same text of many words"] * 16) == [0] * 16
    assert near_duplicates([f"word{number}" for number in range(16)]) == list(range(16))
    assert sizes([0, 0, 1, 0, 2]) == [3, 1, 1]


def test_without_texts_there_are_no_clusters():
    assert near_duplicates([]) == exact_duplicates([]) == sizes([]) == []
    assert near_duplicates(["", "", "a"]) == [0, 0, 1]
