"""Self-BLEU: known answers, and NLTK and sacreBLEU on random sets."""

import math
import random
import warnings

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from samplers.self_bleu import bleus, self_bleu
from tests.samplers.conftest import LAWS
from tests.samplers.texts import KNOWN, disjoint, text_sets

KNOWN_BLEUS = {
    1: ([1.0, 0.833333, 0.333333, 1.0], 0.791667),
    2: ([1.0, 0.816497, 0.08165, 0.774597], 0.668186),
    3: ([1.0, 0.793701, 0.055032, 0.669433], 0.629541),
    4: ([1.0, 0.759836, 0.048549, 0.562341], 0.592682),
}


def by_nltk(texts, order):
    """Score each text against all others, as Texygen does."""
    smoothing, weights = SmoothingFunction().method1, (1 / order,) * order
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # NLTK's words on counts of 0, which method 1 is for
        return [
            float(sentence_bleu([*texts[:place], *texts[place + 1 :]], text, weights, smoothing))
            for place, text in enumerate(texts)
        ]


def by_sacrebleu(texts):
    """Score likewise: its smoothing `floor` puts 0.1 for a count of 0."""
    metric = sacrebleu.BLEU(tokenize="none", force=True, smooth_method="floor", smooth_value=0.1, effective_order=False)
    joined = [" ".join(text) for text in texts]
    return [
        metric.sentence_score(text, [*joined[:place], *joined[place + 1 :]]).score / 100
        for place, text in enumerate(joined)
    ]


def random_texts(seed):
    noise = random.Random(seed)
    words = [f"w{number}" for number in range(noise.choice([3, 8, 40]))]
    return [noise.choices(words, k=noise.randint(4, 25)) for _ in range(noise.randint(2, 9))]


@pytest.mark.parametrize("order", KNOWN_BLEUS)
def test_known_answers(order):
    each, mean = KNOWN_BLEUS[order]
    assert bleus(KNOWN, order) == pytest.approx(each, abs=1e-6)
    assert self_bleu(KNOWN, order) == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("order", [1, 2, 4])
def test_nltk_scores_random_sets_the_same(seed, order):
    texts = random_texts(seed)
    assert bleus(texts, order) == pytest.approx(by_nltk(texts, order), rel=1e-12)


@LAWS
@given(text_sets(least=2, most=6, shortest=1, longest=9), st.integers(1, 4))
def test_nltk_scores_short_and_repetitive_texts_the_same(texts, order):
    assert bleus(texts, order) == pytest.approx(by_nltk(texts, order), rel=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_sacrebleu_scores_random_sets_the_same(seed):
    texts = random_texts(seed)
    assert bleus(texts) == pytest.approx(by_sacrebleu(texts), rel=1e-9)


def test_a_text_is_no_reference_of_its_own():
    assert self_bleu([list("abcdef"), list("ghijkl")]) == 0


def test_the_next_greatest_count_clips_the_text_that_has_the_greatest():
    """Of `a a a` against `a` and `a a`, two unigrams of three count; the others' all do, cut by their brevity."""
    assert bleus([["a"] * 3, ["a"], ["a"] * 2], 1) == pytest.approx([2 / 3, math.exp(1 - 2), 1.0])


def test_brevity_is_measured_by_the_nearest_length_and_the_shorter_of_two():
    texts = [["a"] * 4, ["a"] * 2, ["a"] * 6]
    assert bleus(texts, 1)[0] == 1  # as near to 2 as to 6: no brevity
    assert bleus(texts, 1)[1] == pytest.approx(math.exp(1 - 4 / 2))


@pytest.mark.parametrize(("length", "score"), [(1, 0.177828), (3, 0.562341), (4, 1.0), (9, 1.0)])
def test_equal_texts_reach_1_from_4_tokens_on(length, score):
    assert self_bleu([[f"w{place}" for place in range(length)]] * 5) == pytest.approx(score, abs=1e-6)


def test_disjoint_texts_score_0():
    assert self_bleu(disjoint(5)) == 0


@LAWS
@given(text_sets(least=2), st.randoms(use_true_random=False))
def test_it_knows_no_order_of_texts_and_is_a_share(texts, random):
    shuffled = random.sample(texts, len(texts))
    score = self_bleu(texts)
    assert self_bleu(shuffled) == pytest.approx(score, rel=1e-12)
    assert 0 <= score <= 1


def test_fewer_than_two_texts_have_no_score_and_empty_ones_0():
    assert self_bleu([]) is None
    assert self_bleu([list("abcdef")]) is None
    assert self_bleu([[], []]) == 0
    assert bleus([list("abcdef"), [], list("abcdef")]) == [1, 0, 1]


def test_its_work_grows_with_the_tokens_and_not_with_their_square():
    """A text among 64 costs no more than one among 8; by pairs, it would cost nine times as much. No clock is read."""

    class Counted(str):
        __slots__ = ()
        looked_at = 0

        def __hash__(self):
            Counted.looked_at += 1
            return super().__hash__()

    def work(texts):
        Counted.looked_at = 0
        bleus([[Counted(place % 50) for place in range(text, text + 40)] for text in range(texts)])
        return Counted.looked_at / texts

    assert work(64) <= work(8)
