"""Verdict: every outcome in the words that it is given, and no more than the numbers bear."""

import numpy as np
import pytest

from server.comparison.contrasts import LonePrompt
from server.comparison.verdict import summary
from tests.comparison.judged import BASE, JITTER, RAISED, added, arms, judged, result


def said(values, metric="distance", arm="hot", lone=None, **changed):
    contrasts, _ = judged(values, lone, **changed)
    (words,) = [each.verdict for each in contrasts if (each.arm, each.metric) == (arm, metric)]
    return words


def summed(values, *results, **changed):
    contrasts, terms = judged(values, **changed)
    return summary(contrasts, results or [result(name) for name in values], terms)


def test_a_summary_in_plain_words():
    assert summed(arms()) == [
        "hot is more diverse than cold: distance +0.056 [0.032, 0.081], p < 0.001 (Holm), "
        "at +1.100 nats of surprise [1.076, 1.124], p < 0.001 (Holm); 14 prompts, 12 wins, 2 losses"
    ]


def test_a_difference_has_a_direction():
    assert said(arms()).startswith("hot is more diverse than cold: distance +0.056 [")
    assert said(arms(), baseline="hot", arm="cold").startswith("cold is less diverse than hot: distance -0.056 [")
    assert said(arms(), "surprise").startswith("hot has higher surprise than cold: surprise +1.100 nats [")
    assert said(arms(surprise=-1.1), "surprise").startswith("hot has lower surprise than cold: surprise -1.100 nats [")


def test_no_difference_shown_is_not_equality():
    words = said(arms(hot=[5 * jitter for jitter in JITTER]))
    assert words.startswith("no difference shown between hot and cold: distance +0.000 [-0.039, 0.039], p = 1 (Holm)")
    assert words.endswith("; that is not equality: a difference of 0.062 would be found four times in five")
    assert "equivalent" not in words
    assert "that is not equality" in said(arms(hot=[0.0] * 14))


def test_equivalence_is_claimed_against_a_margin_only():
    near = arms(hot=JITTER)
    assert said(near, margins={"distance": 0.05}).startswith("hot is equivalent to cold within ±0.05: distance ")
    assert "(equivalence)" in said(near, margins={"distance": 0.05})
    assert said(near, margins={"distance": 0.001}).startswith("no difference shown")
    assert said(arms(), margins={"distance": 0.1}).startswith(
        "hot is more diverse than cold, but by less than the margin of 0.1: "
    )
    assert said(arms(), margins={"distance": 0.05}).startswith("hot is more diverse than cold: ")


@pytest.mark.parametrize("prompts", [2, 3, 4, 5])
def test_few_prompts_ask_for_more(prompts):
    words = said(arms(prompts, hot=[0.1] * prompts))
    assert words.startswith(f"too few prompts for a verdict: add at least {7 - prompts} more: distance +0.10 [")
    assert said(arms(prompts, hot=[0.1] * prompts), alpha=0.5).startswith("too few prompts")


def test_weak_effects_ask_for_as_many_prompts_as_they_need():
    """By the normal approximation, (2.24 + 0.84)² / 0.37² = 70 prompts at the 2.5 % that each primary has."""
    words = said(arms(4, hot=[0.1, -0.05, 0.06, -0.01]))
    assert words.startswith("too few prompts for a verdict: add at least 68 more for an effect like the one seen")
    assert "(d_z = 0.37)" in words
    nothing = said(arms(4, hot=[0.1, -0.1, 0.1, -0.1]))
    assert nothing.startswith("too few prompts for a verdict: add at least 3 more, and a million would not do")


def test_more_tests_in_the_family_ask_for_more_prompts():
    """Of 7 prompts p is at least 2 / 128: enough for two primaries, 0.025 each, but not for the four of two arms."""
    assert said(arms(6, hot=[0.1] * 6)).startswith("too few prompts for a verdict: add at least 1 more")
    assert said(arms(7, hot=[0.1] * 7)).startswith("hot is more diverse")
    warm = arms(7, hot=[0.1] * 7, warm={"distance": BASE[:7], "surprise": BASE[:7]})
    assert said(warm).startswith("too few prompts for a verdict: add at least 1 more")
    assert said(arms(6, hot=[0.1] * 6), primaries=("distance",)).startswith("hot is more diverse")


def test_prompts_left_out_are_counted():
    values = arms()
    values["hot"]["distance"][3] = None
    assert "; 13 prompts, 12 wins, 1 loss; 1 left out" in said(values)


def test_one_prompt_speaks_for_itself():
    samples = {"cold": dict(enumerate([0.0] * 9)), "hot": dict(enumerate(np.linspace(0.1, 0.2, 9).tolist()))}
    lone = LonePrompt(samples, {"distance": lambda values: float(np.mean(values))})
    words = said(arms(1), lone=lone)
    assert words.startswith("hot is more diverse than cold on this prompt: distance +0.070 [0.124, 0.176], p = 0.0078")
    assert words.endswith("; one prompt, of which alone this holds")
    assert said(arms(1)).startswith("no verdict on distance from one prompt whose samples were not tested: distance +0")
    same = LonePrompt({"cold": samples["cold"], "hot": samples["cold"]}, lone.measures)
    assert said(arms(1, hot=[0.0]), lone=same) == (
        "no difference shown between hot and cold on this prompt: distance +0 [0, 0], p = 1 (Holm); "
        "one prompt, of which alone this holds; that is not equality"
    )


def test_nothing_to_compare_is_said_and_nothing_else():
    gone = {"distance": [None] * 14, "surprise": [None] * 14}
    words = "nothing to compare: no prompt has a distance of both failed and cold"
    assert said(arms(failed=gone), arm="failed") == words
    lines = summed(arms(failed=gone), result("cold"), result("hot"), result("failed", completed=0))
    assert lines[0].startswith("hot is more diverse than cold: ")
    assert lines[1] == words


def test_a_metric_without_values_does_not_silence_the_other():
    values = arms()
    values["hot"]["surprise"] = [None] * 14
    (line,) = summed(values)
    assert line.startswith("hot is more diverse than cold: ")
    assert "(Holm); 14 prompts" in line


def test_the_noise_floor_is_called_by_its_name():
    again = {"distance": added(BASE, JITTER), "surprise": [2.0 + b + j for b, j in zip(BASE, JITTER, strict=True)]}
    values = arms(again=again)
    words = said(values, arm="again", replicas=frozenset({"again"}))
    assert words.startswith(
        "noise floor: again is cold with other seeds, and differences of distance up to ±0.008 are noise: distance "
    )
    assert "not equality" not in words
    alarm = said(arms(), replicas=frozenset({"hot"}))
    assert alarm.startswith(
        "noise floor: hot is cold with other seeds, and yet hot is more diverse than cold, a false alarm such as 5 % "
        "of "
    )


def test_arms_that_lost_unlike_shares_are_not_compared():
    lines = summed(arms(), result("cold"), result("hot", completed=200))
    assert lines[0].startswith(
        "hot and cold are not comparable (200 of 224 samples completed against 224 of 224): distance +0.056 ["
    )
    assert "more diverse" not in lines[0]


def test_exploratory_findings_are_called_so():
    values = arms()
    for arm, metrics in values.items():
        metrics["vendi"] = [8.0 + (arm == "hot") * (1 + jitter) for jitter in JITTER]
    assert "p < 0.001 (Benjamini-Hochberg, exploratory)" in said(values, "vendi")


def test_numbers_show_two_digits_of_what_is_sure():
    assert "surprise +110.000 nats [109.976, 110.024]" in said(arms(surprise=110.0), "surprise")
    assert "distance +56 [32, 81]" in said(arms(hot=[1000 * raised for raised in RAISED]))
    tiny = said(arms(hot=[1e-9 * raised for raised in RAISED]))
    assert "distance +5.6e-11 [3.2e-11, 8.1e-11]" in tiny
