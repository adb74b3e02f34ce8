"""Metrics of an arm's completions: known answers, the common token budget, and sets of which little can be said."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers.diversity import pairwise_distance, similarity
from server.comparison.metrics import METRICS, PRIMARIES, curves, measure, token_budget
from server.comparison.units import Units
from tests.comparison.written import TOKENS, all_say, says

LAWS = settings(deadline=None, derandomize=True, max_examples=40)
KNOWN = ("the cat sat on the mat", "the cat sat on the rug", "a dog ran in the park", "the dog sat on the mat")
BUDGETED = {metric for metric, description in METRICS.items() if description.budgeted}
PAIRWISE = {"pairwise_distance", "self_bleu", "vendi", "simpson"}


def measured(*completions, budget=None, units=TOKENS):
    return measure(completions, budget, units).metrics


def test_the_primaries_are_one_of_diversity_and_one_of_coherence():
    assert PRIMARIES == ("pairwise_distance", "surprise")


def test_every_metric_of_the_known_set():
    """Answers of the set as published, or by hand: of clusters, three texts are near-duplicates, and one is not."""
    distance = pairwise_distance(similarity([text.split() for text in KNOWN]))
    assert measured(*all_say(*KNOWN)) == pytest.approx(
        {
            "pairwise_distance": distance,
            "distinct_1": 11 / 24,
            "distinct_2": 13 / 20,
            "distinct_3": 11 / 16,
            "self_bleu": 0.592682,
            "vendi": 2.6743266,
            "distinct_k": 2.0,
            "compression_ratio": pytest.approx(1.551724, rel=0.05),
            "sequence_entropy": 6 * 1.5,
            "surprise": 2.0,
            "kl": 0.25,
            "seq_rep_4": 0.0,
            "mean_length": 6.0,
            "simpson": 1 - 3 * 2 / (4 * 3),
            "entropy": 1.5,
            "top_mass": 0.5,
            "kept": 9.0,
            "kept_mass": 0.9,
            "loops": 0.0,
            "stopped": 0.0,
        },
        abs=1e-6,
    )
    assert distance == pytest.approx((0.4149395 + 0.7) / 2, abs=1e-7)  # of 1-grams, and of 2-grams by hand


@pytest.mark.parametrize("figure", ["surprise", "kl", "entropy", "top_mass", "kept_mass"])
def test_a_figure_of_tokens_is_averaged_over_tokens_and_not_over_texts(figure):
    short, long = says("a", 0, **{figure: 0.9}), says("b c d e", 1, **{figure: [0.1, 0.2, 0.3, 0.4]})
    assert measured(short, long)[figure] == pytest.approx((0.9 + 1.0) / 5)


def test_kept_tokens_are_summed_up_by_their_median():
    assert measured(says("a b c", 0, kept=[1, 2, 50_000]))["kept"] == 2
    assert measured(says("a b c", 0, kept=[1, 2, 50_000]), says("d", 1, kept=4))["kept"] == 3


def test_sequence_entropy_is_the_mean_of_sums():
    assert measured(says("a", 0, entropy=2.0), says("b c d", 1, entropy=[1.0, 2.0, 3.0]))["sequence_entropy"] == 4


def test_the_end_counts_as_a_token_and_not_as_text():
    found = measured(says("a b", 0, ended=True, surprise=[1.0, 1.0, 4.0]), says("a b", 1, surprise=2.0))
    assert found["surprise"] == pytest.approx(10 / 5)
    assert (found["mean_length"], found["pairwise_distance"], found["stopped"]) == (2, 0, 0.5)


def test_repetition_and_loops_are_those_of_each_text():
    found = measured(says("x y z a b a b a b", 0), says("a b c d", 1))
    assert (found["seq_rep_4"], found["loops"]) == (pytest.approx((1 / 6 + 0) / 2), 0.5)


@pytest.mark.parametrize("samples", [4, 10, 25])
def test_distinct_answers_are_those_among_ten(samples):
    assert measured(*all_say(*["one answer"] * samples))["distinct_k"] == pytest.approx(1)
    assert measured(*all_say(*map("word{}".format, range(samples))))["distinct_k"] == pytest.approx(min(samples, 10))


def test_distinct_answers_are_expected_by_rarefaction():
    """Of 20 samples, five say b: ten draws miss it at odds of C(15, 10) / C(20, 10)."""
    found = measured(*all_say(*["a"] * 15, *["b"] * 5))
    assert found["distinct_k"] == pytest.approx(2 - math.comb(15, 10) / math.comb(20, 10))
    assert found["simpson"] == pytest.approx(1 - (15 * 14 + 5 * 4) / (20 * 19))


@pytest.mark.parametrize(
    ("lengths", "budget"),
    [
        ([], None),
        ([0, 0, 0, 0], None),
        ([15] * 5 + [100] * 4, None),
        ([15] * 4 + [100] * 4, None),
        ([15] * 4 + [100] * 5, 16),
        ([16], 16),
        ([64] * 32, 64),
        ([*range(20, 60)], 30),
        ([10, 40, 40, 40], 40),
        ([10, 10, 40, 40, 40], 16),
    ],
)
def test_the_budget_is_the_first_quartile_or_16(lengths, budget):
    assert token_budget(lengths) == budget
    assert token_budget(lengths[::-1]) == budget


@LAWS
@given(st.lists(st.integers(0, 80), max_size=60))
def test_a_budget_above_16_drops_a_quarter_at_most(lengths):
    budget = token_budget(lengths)
    if budget is not None:
        dropped = sum(length < budget for length in lengths)
        assert budget >= 16
        assert dropped < len(lengths) / 2
        assert budget == 16 or dropped <= len(lengths) / 4
    elif lengths:
        assert sum(length < 16 for length in lengths) >= len(lengths) / 2


def test_the_budget_cuts_what_depends_on_length_and_nothing_else():
    texts = ["a b c d e f g", "a b c d x y", "p q r s", "short"]
    cut = measure(all_say(*texts), 4, TOKENS)
    whole, by_hand = measured(*all_say(*texts)), measured(*all_say("a b c d", "a b c d", "p q r s"))
    assert cut.dropped == 1
    assert {metric: cut.metrics[metric] for metric in BUDGETED} == {metric: by_hand[metric] for metric in BUDGETED}
    assert {name: value for name, value in cut.metrics.items() if name not in BUDGETED} == {
        name: value for name, value in whole.items() if name not in BUDGETED
    }
    assert cut.metrics["pairwise_distance"] != pytest.approx(whole["pairwise_distance"])


def test_the_metrics_that_are_cut_are_those_that_length_alone_would_change():
    """Texts of the same words, said once and said three times over, differ in these metrics when they are whole."""
    once, thrice = (measured(*all_say(*[" ".join([text] * times) for text in KNOWN])) for times in (1, 3))
    wording = {metric for metric in METRICS if once[metric] != pytest.approx(thrice[metric])}
    assert wording - {"sequence_entropy", "mean_length", "loops"} <= BUDGETED


def test_a_budget_that_leaves_no_text_leaves_no_value():
    found = measure(all_say("a b c", "d e f"), 16, TOKENS)
    assert found.dropped == 2
    assert all(found.metrics[metric] is None for metric in BUDGETED)
    assert found.metrics["surprise"] == 2.0


def test_one_text_has_no_distance_and_no_text_has_nothing():
    alone = measured(says("a b c d e f"))
    assert {metric for metric, value in alone.items() if value is None} == PAIRWISE
    assert set(measured().values()) == {None}
    assert set(measured()) == set(METRICS)


def test_equal_texts_shorter_than_four_tokens_do_not_pass_for_diverse():
    assert measured(*all_say("a b c", "a b c"))["self_bleu"] is None
    assert measured(*all_say("a b c d", "a b c d"))["self_bleu"] == pytest.approx(1)


def test_empty_texts_are_counted_and_alike():
    found = measure(all_say("", "", ""), None, TOKENS)
    assert (found.empty, found.dropped) == (3, 0)
    assert found.metrics == {
        "pairwise_distance": 0, "distinct_1": None, "distinct_2": None, "distinct_3": None, "self_bleu": None,
        "vendi": pytest.approx(1), "distinct_k": 1, "compression_ratio": None, "sequence_entropy": 0, "surprise": None,
        "kl": None, "seq_rep_4": 0, "mean_length": 0, "simpson": 0, "entropy": None, "top_mass": None, "kept": None,
        "kept_mass": None, "loops": 0, "stopped": 0,
    }  # fmt: skip
    assert measure(all_say("", "", ended=True), None, TOKENS).empty == 2


@LAWS
@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=24).map(" ".join), max_size=7),
    st.booleans(),
    st.sampled_from([None, 4, 16]),
    st.randoms(use_true_random=False),
)
def test_values_are_finite_or_none_and_know_no_order(texts, ended, budget, random):
    completions = all_say(*texts, ended=ended)
    found = measure(completions, budget, TOKENS)
    assert measure(random.sample(completions, len(completions)), budget, TOKENS) == found
    for metric, value in found.metrics.items():
        assert value is None or math.isfinite(value), metric


def test_words_are_the_unit_where_tokens_are_not_shared():
    found = measured(*all_say("The cat, sat", "the CAT , sat"), units=Units(frozenset()))
    assert (found["mean_length"], found["pairwise_distance"]) == (4, 0)
    assert found["compression_ratio"] is not None


def test_curves_are_those_of_all_prompts():
    completions = [
        says("a b c", 0, prompt=0, entropy=[1.0, 2.0, 3.0]),
        says("a b c", 1, prompt=0, entropy=[3.0, 2.0, 9.0]),
        says("x", 0, prompt=1, entropy=5.0),
        says("y z", 1, prompt=1, entropy=[3.0, 5.0]),
    ]
    found = curves(reversed(completions), TOKENS)
    assert found.lengths == [3, 3, 1, 2]
    assert found.entropy_by_position == [3, 3, 6]  # the last is of two texts of four
    assert found.rarefaction == [1, 1.5]
    assert curves([*completions, says("w", 2, prompt=1, entropy=1.0)], TOKENS).entropy_by_position == [13 / 5, 3]
    assert curves([], TOKENS) == ([], [], [])
