"""Outcome: means over prompts, arms that failed, texts of unlike length, one prompt, and JSON without NaN."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from samplers.diversity import pairwise_distance, similarity
from server.comparison.metrics import METRICS
from tests.comparison.written import compared, contrast, says

WORDS = ("time way year water house light sound stone river night story road tree hill").split()  # noqa: SIM905


def varied(seed, length=18):
    return " ".join(np.random.default_rng(seed).choice(WORDS, length))


def prompts(count, samples=4, cold=lambda number, sample: "one and the same", hot=lambda n, s: varied(99 * n + s)):
    return [
        {
            "cold": [cold(number, sample) for sample in range(samples)],
            "hot": [hot(number, sample) for sample in range(samples)],
        }
        for number in range(count)
    ]


def strict(outcome):
    return json.dumps([own.model_dump(mode="json") for own in (*outcome.arms, *outcome.comparisons)], allow_nan=False)


def test_prompts_weigh_alike_however_many_texts_they_have():
    outcome = compared(
        {"cold": ["a b c d"] * 4, "hot": ["a b c d", "a b c d", None, None]},
        {"cold": ["a b c d"] * 4, "hot": ["a b", "c d", "e f", "g h"]},
    )
    cold, hot = outcome.arms
    assert hot.per_prompt["pairwise_distance"] == [0, 1]
    assert hot.metrics["pairwise_distance"] == 0.5
    assert cold.metrics["pairwise_distance"] == 0


def test_means_and_intervals_are_those_of_prompts():
    outcome = compared(*prompts(7))
    hot = outcome.arms[1]
    assert set(hot.metrics) == set(hot.intervals) == set(hot.per_prompt) == set(METRICS)
    values = hot.per_prompt["pairwise_distance"]
    oracle = stats.t.interval(0.95, 6, np.mean(values), stats.sem(values))
    assert hot.metrics["pairwise_distance"] == pytest.approx(np.mean(values))
    assert (hot.intervals["pairwise_distance"].low, hot.intervals["pairwise_distance"].high) == pytest.approx(oracle)
    found = contrast(outcome, "pairwise_distance")
    assert found.difference == pytest.approx(np.mean(values) - outcome.arms[0].metrics["pairwise_distance"])
    assert found.wins == 7


def test_a_prompt_without_a_value_is_no_prompt_of_the_mean():
    known, unknown = {"cold": ["a b c d"] * 2, "hot": ["a b", "c d"]}, {"cold": ["a b c d"] * 2, "hot": ["a b", None]}
    hot = compared(known, known, unknown).arms[1]
    assert hot.per_prompt["pairwise_distance"] == [1, 1, None]
    assert hot.metrics["pairwise_distance"] == 1


def test_an_arm_that_failed_leaves_the_others_compared():
    told = [own | {"lost": [None] * 4} for own in prompts(8)]
    outcome = compared(*told)
    lost = outcome.arms[2]
    assert (lost.counts.attempted, lost.counts.completed, lost.counts.failed) == (32, 0, 32)
    assert lost.error == "the model failed"
    assert set(lost.metrics.values()) == {None}
    assert outcome.warnings[0] == "lost gave no completion: the model failed"
    assert not any("lost" in line for line in outcome.warnings[1:])
    assert outcome.verdict[0].startswith("hot is more diverse than cold")
    assert outcome.verdict[1] == "nothing to compare: no prompt has a distance of both lost and cold"
    strict(outcome)


def test_a_baseline_that_failed_says_so():
    outcome = compared(*prompts(8, cold=lambda number, sample: None))
    assert outcome.arms[0].counts.failed == 32
    assert outcome.warnings == ["cold gave no completion: the model failed"]
    assert outcome.verdict == ["hot and cold are not comparable (32 of 32 samples completed against 0 of 32)"]
    strict(outcome)


def test_empty_completions_are_counted_and_make_no_nan():
    outcome = compared(*prompts(8, hot=lambda number, sample: ""))
    hot = outcome.arms[1]
    assert (hot.counts.completed, hot.counts.empty, hot.metrics["mean_length"]) == (32, 32, 0)
    assert hot.metrics["surprise"] is None
    assert "hot: 32 of 32 completions are empty" in outcome.warnings
    assert contrast(outcome, "surprise").prompts == 0
    strict(outcome)


def test_texts_of_one_prompt_are_cut_to_a_budget_of_all_arms_and_the_short_ones_are_counted():
    """Of lengths 18 and 40, a quarter at 17: the budget is 18 for both arms, and two texts fall short of it."""
    told = prompts(
        6, cold=lambda number, sample: varied(sample, 17 if sample == 0 else 18), hot=lambda n, s: varied(n + s, 40)
    )
    outcome = compared(*told)
    assert [arm.counts.dropped for arm in outcome.arms] == [6, 0]
    first = [text.split()[:18] for text in told[0]["hot"]]
    assert outcome.arms[1].per_prompt["pairwise_distance"][0] == pytest.approx(pairwise_distance(similarity(first)))
    assert outcome.arms[1].metrics["mean_length"] == 40
    assert any(line.endswith("token budget: 6 of 24 of cold") for line in outcome.warnings)
    assert any("mean lengths of hot and cold differ by more than 10 %" in line for line in outcome.warnings)


@pytest.mark.parametrize(("length", "warned"), [(20, False), (22, False), (23, True), (18, True), (19, False)])
def test_lengths_are_warned_of_from_a_tenth_on(length, warned):
    outcome = compared(*prompts(6, cold=lambda n, s: varied(n + s, 20), hot=lambda n, s: varied(n + s, length)))
    assert any("differ by more than 10 %" in line for line in outcome.warnings) == warned


def test_an_arm_again_shows_the_noise_floor_and_raises_no_claim():
    told = prompts(8, cold=lambda n, s: varied(7 * n + s), hot=lambda n, s: varied(1000 + 7 * n + s))
    outcome = compared(*told, replicas=frozenset({"hot"}))
    assert outcome.verdict[0].startswith("noise floor: hot is cold with other seeds, and differences of distance up to")


def test_five_prompts_are_too_few_and_six_or_more_are_asked_for():
    assert "too few prompts for a verdict: add at least 2 more" in compared(*prompts(5)).verdict[0]
    assert compared(*prompts(7)).verdict[0].startswith("hot is more diverse than cold")


def test_one_prompt_is_tested_among_its_samples():
    outcome = compared(*prompts(1, samples=9))
    found = contrast(outcome, "pairwise_distance")
    assert found.p_value == 2 / 2**9
    assert found.ci_low <= found.difference <= found.ci_high
    assert outcome.verdict[0].startswith("hot is more diverse than cold on this prompt")
    assert contrast(outcome, "vendi").p_value is None


def test_the_surprise_of_one_prompt_is_that_of_whole_texts_even_where_distances_are_cut():
    """Nine texts of 18 tokens, and three that are short of the budget, in which the arms differ three times as much."""

    def text(arm, base):
        def write(number, sample):
            length, times = (8, 3) if sample < 3 else (18, 1)
            return says(varied(sample, length), sample, arm, number, surprise=base * times)

        return write

    outcome = compared(*prompts(1, samples=12, cold=text("cold", 1.0), hot=text("hot", 2.0)))
    found = contrast(outcome, "surprise")
    assert [arm.counts.dropped for arm in outcome.arms] == [3, 3]
    assert found.difference == pytest.approx((3 * 8 * 3 + 9 * 18) / (3 * 8 + 9 * 18))
    assert (found.ci_low + found.ci_high) / 2 == pytest.approx(found.difference)
    assert found.p_value == 2 / 2**12


def test_the_distance_of_one_prompt_is_that_of_its_common_budget():
    """Nine texts of 18 tokens or more, cut to 18, and three that are short of the budget and not looked at."""

    def length(sample, long):
        return 8 if sample < 3 else long

    outcome = compared(
        *prompts(
            1,
            samples=12,
            cold=lambda number, sample: varied(0, length(sample, 18)),
            hot=lambda number, sample: varied(sample, length(sample, 40)),
        )
    )
    found = contrast(outcome, "pairwise_distance")
    assert [arm.counts.dropped for arm in outcome.arms] == [3, 3]
    assert found.p_value == 2 / 2**9
    assert (found.ci_low + found.ci_high) / 2 == pytest.approx(found.difference)


def test_the_surprise_of_one_prompt_weighs_tokens_and_not_texts():
    """Long texts weigh more, in the interval as in the difference."""

    def text(arm, base):
        def write(number, sample):
            return says(varied(sample, 2 + sample), sample, arm, number, surprise=base + sample)

        return write

    outcome = compared(*prompts(1, samples=6, cold=text("cold", 1.0), hot=text("hot", 1.5)))
    found = contrast(outcome, "surprise")
    weights = np.arange(2, 8)
    assert outcome.arms[0].metrics["surprise"] == pytest.approx(np.average(1 + np.arange(6), weights=weights))
    assert (found.ci_low, found.ci_high) == pytest.approx((0.5, 0.5))


texts = st.one_of(
    st.none(),
    st.just(""),
    st.sampled_from(["a", "a b", "a b c d e"]),
    st.integers(0, 5).map(lambda own: varied(own, 20)),
)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    st.integers(1, 4).flatmap(
        lambda samples: st.lists(
            st.fixed_dictionaries(
                {arm: st.lists(texts, min_size=samples, max_size=samples) for arm in ("cold", "hot", "third")}
            ),
            min_size=1,
            max_size=3,
        )
    )
)
def test_whatever_arms_write_makes_strict_json_and_a_verdict(told):
    outcome = compared(*told)
    strict(outcome)
    assert len(outcome.verdict) == 2
    for arm in outcome.arms:
        counts = arm.counts
        assert counts.attempted == counts.completed + counts.failed == len(told) * len(told[0]["cold"])
        assert len(arm.lengths) == sum(arm.finish_reasons.values()) == counts.completed
