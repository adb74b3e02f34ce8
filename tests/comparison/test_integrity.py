"""Integrity: what is said before any mean, and silence where nothing is the matter."""

from server.comparison.integrity import warnings
from tests.comparison.judged import arms, judged, result


def said(values, *results):
    contrasts, terms = judged(values)
    return warnings(contrasts, results, terms)


def test_nothing_is_said_where_nothing_is_the_matter():
    assert said(arms(), result("cold", lengths=(30, 34)), result("hot", lengths=(35, 35))) == []


def test_lengths_that_differ_by_more_than_a_tenth():
    (line,) = said(arms(), result("cold", lengths=(30, 30)), result("hot", lengths=(34, 33)))
    assert line.startswith("mean lengths of hot and cold differ by more than 10 % (33.5 against 30.0 tokens)")
    (line,) = said(arms(), result("cold", lengths=(34, 33)), result("hot", lengths=(30, 30)))
    assert "(30.0 against 33.5 tokens)" in line
    assert said(arms(), result("cold", lengths=(0, 0)), result("hot", lengths=(0,))) == []


def test_unequal_survivors():
    assert said(arms(), result("cold"), result("hot", completed=223)) == [
        "hot and cold are not comparable (223 of 224 samples completed against 224 of 224)"
    ]
    assert said(arms(), result("cold", completed=223), result("hot", completed=223)) == []


def test_an_arm_without_any_completion():
    gone = {"distance": [None] * 14, "surprise": [None] * 14}
    values = arms(failed=gone)
    results = result("cold"), result("hot"), result("failed", completed=0, error="its model could not be loaded")
    assert said(values, *results) == ["failed gave no completion: its model could not be loaded"]
    assert said({**arms(), "cold": gone}, result("cold", completed=0), result("hot")) == ["cold gave no completion"]


def test_empty_and_short_completions():
    assert said(arms(), result("cold", dropped=2), result("hot", empty=3, dropped=12)) == [
        "hot: 3 of 224 completions are empty",
        "metrics that depend on length leave out completions that are shorter than the common token budget: "
        "2 of 224 of cold, 12 of 224 of hot",
    ]


def test_prompts_left_out():
    values = arms()
    values["hot"]["distance"][3] = None
    results = result("cold"), result("hot")
    assert said(values, *results) == [
        "hot against cold: 1 of 14 prompts left out, for want of a value of both, in distance"
    ]
    values["hot"]["surprise"][0] = None
    assert said(values, *results)[0].endswith(" in every metric")
