"""Power: known numbers of prompts, and the noncentral t integrated by hand."""

import math

import pytest
from scipy import integrate, stats

from samplers.power import minimum_detectable, power, prompts_needed


def integrated(effect_size, prompts, alpha):
    """Given the deviation found, relative to the true one, the mean is normal: average over the deviations."""
    freedom, shift = prompts - 1, effect_size * math.sqrt(prompts)
    edge = stats.t.ppf(1 - alpha / 2, freedom)

    def rejected(ratio):
        beyond = stats.norm.cdf(shift - edge * ratio) + stats.norm.cdf(-shift - edge * ratio)
        return beyond * stats.chi.pdf(ratio * math.sqrt(freedom), freedom) * math.sqrt(freedom)

    return integrate.quad(rejected, 0, 1 + 12 / math.sqrt(freedom), limit=200)[0]


@pytest.mark.parametrize(("effect_size", "prompts"), [(0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6)])
def test_prompts_for_80_percent(effect_size, prompts):
    assert prompts_needed(effect_size) == prompts_needed(-effect_size) == prompts
    assert power(effect_size, prompts) >= 0.8 > power(effect_size, prompts - 1)


@pytest.mark.parametrize("prompts", [2, 3, 6, 10, 100])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
@pytest.mark.parametrize("effect_size", [0.0, 0.1, 0.5, 2.0])
def test_power_is_the_noncentral_t(effect_size, prompts, alpha):
    assert power(effect_size, prompts, alpha) == pytest.approx(integrated(effect_size, prompts, alpha), abs=1e-6)


@pytest.mark.parametrize("prompts", [2, 6, 30, 1000, 1_000_000])
def test_great_effects_are_certain_and_none_is_a_false_alarm(prompts):
    assert power(0.0, prompts) == pytest.approx(0.05)
    assert power(1000.0, prompts) == pytest.approx(1.0)
    assert power(1000.0, prompts, alpha=0.01) == pytest.approx(1.0)


@pytest.mark.parametrize("prompts", [2, 3, 6, 12, 200, 100_000])
@pytest.mark.parametrize("alpha", [0.05, 0.0025])
def test_the_difference_detectable_has_the_power_wanted(prompts, alpha):
    found = minimum_detectable(3.0, prompts, alpha)
    assert power(found / 3.0, prompts, alpha) == pytest.approx(0.8, abs=1e-6)


def test_edges():
    assert minimum_detectable(0.0, 6) == 0
    assert prompts_needed(0.0) is None
    assert prompts_needed(1e-4) is None
    assert prompts_needed(math.inf) == 2
    assert prompts_needed(1e6) == 2
    with pytest.raises(ValueError, match="at least 2"):
        power(1.0, 1)
