"""Contrasts: pairing, families of tests, and the edges where there is little or nothing to compare."""

import math

import numpy as np
import pytest
from scipy import stats

from server.comparison.contrasts import LonePrompt
from tests.comparison.judged import BASE, JITTER, LABELS, RAISED, added, arms, judged, terms


def found(contrasts, arm="hot", metric="distance"):
    (contrast,) = [each for each in contrasts if (each.arm, each.metric) == (arm, metric)]
    return contrast


def test_the_numbers_are_those_of_the_paired_test():
    contrast = found(judged(arms())[0])
    oracle = stats.ttest_1samp(RAISED, 0).confidence_interval(0.95)
    assert contrast.difference == pytest.approx(np.mean(RAISED))
    assert (contrast.ci_low, contrast.ci_high) == pytest.approx((oracle.low, oracle.high))
    assert contrast.effect_size == pytest.approx(np.mean(RAISED) / np.std(RAISED, ddof=1))
    assert (contrast.wins, contrast.ties, contrast.losses, contrast.prompts) == (12, 0, 2, 14)
    assert contrast.p_value < 0.01
    assert contrast.p_adjusted == pytest.approx(contrast.p_value)
    assert (contrast.bca_low, contrast.bca_high) == (None, None)
    assert contrast.equivalent is None


def test_exchanging_arm_and_baseline_turns_the_sign():
    values = arms()
    there, back = found(judged(values)[0]), found(judged(values, baseline="hot")[0], arm="cold")
    assert back.difference == pytest.approx(-there.difference)
    assert (back.ci_low, back.ci_high) == pytest.approx((-there.ci_high, -there.ci_low))
    assert (back.p_value, back.wins, back.losses) == (there.p_value, there.losses, there.wins)


def test_prompts_without_a_value_of_both_are_left_out():
    values = arms()
    values["hot"]["distance"][0] = None
    values["cold"]["distance"] = [*BASE[:13], None]
    contrasts, _ = judged(values)
    assert found(contrasts).prompts == 12
    assert found(contrasts).difference == pytest.approx(np.mean(RAISED[1:13]))
    assert found(contrasts, metric="surprise").prompts == 14


def test_holm_holds_over_all_arms_and_primaries_and_the_rest_is_apart():
    warm = {"distance": added(BASE, JITTER), "surprise": [2.1 + value for value in BASE]}
    values = arms(warm=warm)
    for arm, more in (("cold", 0.0), ("hot", 0.5), ("warm", 0.0)):
        values[arm]["vendi"] = [8 + more + 10 * jitter * (arm != "cold") for jitter in JITTER]
    contrasts, _ = judged(values)
    primary = [each for each in contrasts if each.primary]
    assert [(each.arm, each.metric) for each in primary] == [
        ("hot", "distance"), ("hot", "surprise"), ("warm", "distance"), ("warm", "surprise")]  # fmt: skip
    least = min(primary, key=lambda each: each.p_value)
    assert least.p_adjusted == pytest.approx(4 * least.p_value)
    rest = [each for each in contrasts if not each.primary]
    assert {each.adjustment for each in rest} == {"bh"}
    oracle = stats.false_discovery_control([each.p_value for each in rest])
    assert [each.p_adjusted for each in rest] == pytest.approx(oracle)


def test_a_planned_test_that_could_not_be_made_still_counts():
    failed = {"distance": [None] * 14, "surprise": [None] * 14}
    contrasts, _ = judged(arms(failed=failed))
    hot, gone = found(contrasts, metric="surprise"), found(contrasts, arm="failed")
    assert hot.p_adjusted == pytest.approx(4 * hot.p_value)
    assert (gone.prompts, gone.difference, gone.p_value, gone.p_adjusted, gone.effect_size) == (0, *[None] * 4)
    assert (gone.wins, gone.ties, gone.losses) == (0, 0, 0)


def test_equal_arms_differ_by_nothing_for_certain():
    contrast = found(judged(arms(hot=[0.0] * 14))[0])
    assert (contrast.difference, contrast.ci_low, contrast.ci_high) == (0, 0, 0)
    assert (contrast.p_value, contrast.p_adjusted, contrast.effect_size) == (1, 1, 0)
    assert (contrast.wins, contrast.ties, contrast.losses) == (0, 14, 0)


def test_a_constant_difference_is_a_point_without_an_effect_size():
    contrast = found(judged(arms(prompts=7, hot=[0.1] * 7))[0])
    assert contrast.p_value == 2 / 2**7
    assert (contrast.ci_low, contrast.ci_high) == pytest.approx((0.1, 0.1))
    assert contrast.effect_size is None
    assert contrast.minimum_detectable == 0


def test_bootstrap_intervals_come_from_20_prompts_on():
    twenty = {"cold": {"distance": (BASE * 2)[:20], "surprise": [1.0] * 20}}
    twenty["hot"] = {"distance": added(twenty["cold"]["distance"], RAISED * 2), "surprise": [1.5] * 20}
    contrasts, _ = judged(twenty)
    contrast, constant = found(contrasts), found(contrasts, metric="surprise")
    assert contrast.bca_low == pytest.approx(contrast.ci_low, abs=0.01)
    assert contrast.bca_high == pytest.approx(contrast.ci_high, abs=0.01)
    assert (constant.bca_low, constant.bca_high) == (0.5, 0.5)


def test_the_difference_detectable_shares_the_level_among_primaries():
    values = arms()
    together, alone = found(judged(values)[0]), found(judged(values, primaries=("distance",))[0])
    assert together.minimum_detectable > 1.05 * alone.minimum_detectable


def test_equivalence_is_tested_where_a_margin_is_given_and_decided_from_6_prompts_on():
    contrast = found(judged(arms(hot=JITTER), margins={"distance": 0.05})[0])
    assert contrast.equivalent is True
    assert contrast.equivalence_p < 0.001
    assert found(judged(arms(hot=RAISED), margins={"distance": 0.05})[0]).equivalent is False
    few = found(judged(arms(prompts=5, hot=JITTER), margins={"distance": 0.05})[0])
    assert few.equivalent is None
    assert few.equivalence_p < 0.05


def lone(baseline, arm, **measures):
    samples = {"cold": dict(enumerate(baseline)), "hot": {i: s for i, s in enumerate(arm) if s is not None}}
    return LonePrompt(samples, measures or {"distance": lambda values: float(np.mean(values))})


def test_one_prompt_is_tested_by_its_samples_paired_by_index():
    values = arms(prompts=1)
    cold, hot = [0.0] * 9, [None, 0.1, 0.2, 0.15, 0.12, 0.11, 0.2, 0.3, 0.25]
    contrasts, _ = judged(values, lone(cold, hot))
    contrast, untested = found(contrasts), found(contrasts, metric="surprise")
    oracle = stats.ttest_1samp(hot[1:], 0).confidence_interval(0.95)
    assert contrast.p_value == 2 / 2**8
    assert contrast.p_adjusted == 4 / 2**8
    assert (contrast.ci_low, contrast.ci_high) == pytest.approx((oracle.low, oracle.high))
    assert (untested.p_value, untested.p_adjusted, untested.ci_low) == (None, None, None)
    assert contrast.minimum_detectable is None


def test_one_prompt_with_too_few_samples_is_not_tested():
    assert found(judged(arms(prompts=1), lone([0.0] * 3, [0.1, 0.2, None]))[0]).p_value is None
    assert found(judged(arms(prompts=1))[0]).p_value is None


def test_samples_are_not_looked_at_where_there_are_prompts():
    def never(values):
        raise AssertionError

    values = arms(prompts=7)
    values["hot"]["distance"] = [*values["hot"]["distance"][:1], *[None] * 6]
    assert found(judged(values, lone([0.0] * 9, [0.1] * 9, distance=never))[0]).p_value is None


def test_what_cannot_be_compared_is_refused():
    values = arms()
    values["hot"]["distance"] = RAISED[:13]
    with pytest.raises(ValueError, match="distance of hot has 13 values for 14 prompts"):
        judged(values)
    del values["hot"]["distance"]
    with pytest.raises(ValueError, match="distance of hot lacks values or a label"):
        judged(values)
    with pytest.raises(ValueError, match="finite"):
        judged(arms(hot=[math.nan] * 14))
    with pytest.raises(ValueError, match="warm: no such arm among cold, hot"):
        terms(arms(), replicas=frozenset({"warm"}))
    with pytest.raises(ValueError, match="kl: give each metric a label"):
        terms(arms(), primaries=("kl",), labels=LABELS)
