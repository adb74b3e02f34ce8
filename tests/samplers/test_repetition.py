"""Repetition within a text: known answers, and a loop searched for by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplers.repetition import loop, repetition
from tests.samplers.conftest import LAWS
from tests.samplers.texts import KNOWN

LOOPING = list("xyzababab")
ENDED = list("abcabcabcd")
few_letters = st.lists(st.sampled_from("ab"), max_size=24)


def loop_by_hand(sequence):
    """Try every phrase of two tokens and more, the shortest first."""
    for length in range(2, len(sequence) // 3 + 1):
        phrase, copies = sequence[-length:], 1
        while sequence[len(sequence) - (copies + 1) * length : len(sequence) - copies * length] == phrase:
            copies += 1
        if copies >= 3:
            return length, copies
    return None


@pytest.mark.parametrize(
    ("sequence", "n", "share"),
    [
        (LOOPING, 2, 0.375),
        (LOOPING, 3, 0.285714),
        (LOOPING, 4, 0.166667),
        (ENDED, 1, 0.6),
        (ENDED, 2, 0.555556),
        (ENDED, 3, 0.5),
        (ENDED, 4, 0.428571),
    ],
)
def test_known_shares(sequence, n, share):
    assert repetition(sequence, n) == pytest.approx(share, abs=1e-6)


def test_four_tokens_are_the_rule():
    assert repetition(LOOPING) == repetition(LOOPING, 4)


def test_the_diversity_of_simctg_is_made_of_these():
    assert math.prod(1 - repetition(LOOPING, n) for n in (2, 3, 4)) == pytest.approx(0.372024, abs=1e-6)


@pytest.mark.parametrize(("n", "mean"), [(1, 0.875), (2, 1.0)])
def test_the_known_set_within_its_texts(n, mean):
    assert sum(1 - repetition(text, n) for text in KNOWN) / len(KNOWN) == pytest.approx(mean)


@LAWS
@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(1, 5))
def test_the_share_is_that_of_ngrams_seen_before(sequence, n):
    grams = [tuple(sequence[start : start + n]) for start in range(len(sequence) - n + 1)]
    again = sum(gram in grams[:place] for place, gram in enumerate(grams))
    assert repetition(sequence, n) == pytest.approx(again / len(grams) if grams else 0)


@pytest.mark.parametrize("length", range(4))
def test_what_is_shorter_than_n_repeats_nothing(length):
    assert repetition(["a"] * length, 4) == 0


def test_known_loops():
    assert loop(LOOPING) == (2, 3)
    assert loop(ENDED) is None
    assert loop(ENDED[:-1]) == (3, 3)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("ababa", None),
        ("abab", None),
        ("ababab", (2, 3)),
        ("babab", None),
        ("xabababab", (2, 4)),
        ("aaaaa", None),
        ("aaaaaa", (2, 3)),
        ("abcabcab", None),
        ("bcabcabca", (3, 3)),
    ],
)
def test_loops_by_hand(text, found):
    assert loop(list(text)) == found


@LAWS
@given(few_letters)
def test_loops_are_those_found_phrase_by_phrase(sequence):
    assert loop(sequence) == loop_by_hand(sequence)


@LAWS
@given(few_letters, st.lists(st.sampled_from("ab"), min_size=2, max_size=5), st.integers(3, 6))
def test_a_text_that_ends_in_three_copies_loops(sequence, phrase, copies):
    found = loop([*sequence, *phrase * copies])
    assert found is not None
    assert found.length <= len(phrase)
