"""Contrasts: every arm less the baseline in every metric, paired by prompt, with its error bars."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from samplers.multiplicity import benjamini_hochberg, holm
from samplers.permutation import label_swap_p, sign_flip_p
from samplers.power import minimum_detectable
from samplers.statistics import (
    LEAST_FOR_BCA,
    Floats,
    Interval,
    Tally,
    bca_interval,
    effect_size,
    equivalence_p,
    jackknife_interval,
    spread,
    subtract,
    t_interval,
    tally,
)
from server.comparison.result import Contrast, Metric
from server.comparison.terms import LEAST_PROMPTS, Terms
from server.comparison.verdict import verdict

Values = Mapping[str, Mapping[Metric, Sequence[float | None]]]  # arm → metric → value per prompt
Sample = TypeVar("Sample")


@dataclass(frozen=True, slots=True)
class LonePrompt(Generic[Sample]):
    """The samples of a comparison of one prompt, for lack of prompts to pair.

    Attributes:
        samples: arm → sample index → sample; a failed one is absent. Whatever the measures take, such as rows of a
            matrix of distances made beforehand: each is called some twenty thousand times an arm.
        measures: metric → its value for some samples, 2 or more of them, finite; the metrics that are to be tested.
        looks_at: metric → whether it looks at a sample; by default, at all of them.
    """

    samples: Mapping[str, Mapping[int, Sample]]
    measures: Mapping[Metric, Callable[[Sequence[Sample]], float]]
    looks_at: Mapping[Metric, Callable[[Sample], bool]] = field(default_factory=dict)

    def test(self, arm: str, baseline: str, metric: Metric, confidence: float) -> tuple[float, Interval] | None:
        """Return a p-value and an interval of the difference, for this prompt alone; None where 3 samples lack."""
        before, after = self._looked_at(baseline, metric), self._looked_at(arm, metric)
        indices = sorted(before.keys() & after.keys())
        if metric not in self.measures or len(indices) < 3:
            return None
        first, second = [before[index] for index in indices], [after[index] for index in indices]
        measure = self.measures[metric]

        def statistic(before: Sequence[Sample], after: Sequence[Sample]) -> float:
            return measure(after) - measure(before)

        return label_swap_p(first, second, statistic), jackknife_interval(first, second, statistic, confidence)

    def _looked_at(self, arm: str, metric: Metric) -> dict[int, Sample]:
        looks_at = self.looks_at.get(metric)
        return {index: own for index, own in self.samples[arm].items() if looks_at is None or looks_at(own)}


def contrasts(values: Values, terms: Terms, lone: LonePrompt[Sample] | None = None) -> list[Contrast]:
    """Compare every arm with the baseline.

    p-values are those of sign flips over prompts, or of label swaps within the one prompt, adjusted by Holm over the
    planned (arms - 1) × primaries, where a test that could not be made counts as one that shows nothing, and by
    Benjamini and Hochberg over the rest. Intervals are of one contrast each, unadjusted.

    Args:
        values: of each arm in each metric, one per prompt; None where a prompt has none, which leaves out the pair.
        terms: what was settled beforehand.
        lone: the samples, of a comparison of one prompt; None leaves it without a verdict.

    Returns:
        Arm by arm, metric by metric, in the order of `terms.arms` and of the baseline's values.

    Raises:
        ValueError: values are not finite, or not as many as there are prompts; an arm, a primary or a label lacks.
    """
    _require(values, terms)
    measured = [_measure(values, arm, metric, terms, lone) for arm in terms.others for metric in values[terms.baseline]]
    adjusted = _adjust(measured)
    return [contrast.model_copy(update={"verdict": verdict(contrast, terms)}) for contrast in adjusted]


def _require(values: Values, terms: Terms) -> None:
    for arm in terms.arms:
        for metric in {*values[terms.baseline], *terms.primaries}:
            if metric not in values.get(arm, {}) or metric not in terms.labels:
                raise ValueError(f"{metric} of {arm} lacks values or a label: give both, None where a prompt has none")
            if len(values[arm][metric]) != terms.prompts:
                raise ValueError(f"{metric} of {arm} has {len(values[arm][metric])} values for {terms.prompts} prompts")


def _measure(values: Values, arm: str, metric: Metric, terms: Terms, lone: LonePrompt[Sample] | None) -> Contrast:
    gaps = _paired(values[arm][metric], values[terms.baseline][metric])
    count, primary, confidence = len(gaps), metric in terms.primaries, 1 - terms.alpha
    within = lone.test(arm, terms.baseline, metric, confidence) if lone and terms.prompts == count == 1 else None
    p_value, interval = within or (None, None)
    if count >= 2:
        p_value, interval = sign_flip_p(gaps), t_interval(gaps, confidence)
    bca = bca_interval(gaps, confidence) if count >= LEAST_FOR_BCA else None
    wins, ties, losses = tally(gaps) if count else Tally(0, 0, 0)
    effect = effect_size(gaps) if count >= 2 else None
    equivalence = equivalence_p(gaps, terms.margins[metric]) if metric in terms.margins and count >= 2 else None
    return Contrast(
        arm=arm,
        baseline=terms.baseline,
        metric=metric,
        primary=primary,
        prompts=count,
        difference=float(gaps.mean()) if count else None,
        ci_low=interval and interval.low,
        ci_high=interval and interval.high,
        bca_low=bca and bca.low,
        bca_high=bca and bca.high,
        p_value=p_value,
        p_adjusted=None,
        adjustment="holm" if primary else "bh",
        effect_size=None if effect is None or math.isinf(effect) else effect,
        wins=wins,
        ties=ties,
        losses=losses,
        minimum_detectable=minimum_detectable(spread(gaps), count, terms.level(metric)) if count >= 2 else None,
        equivalent=None if equivalence is None or count < LEAST_PROMPTS else equivalence <= terms.alpha,
        equivalence_p=equivalence,
        verdict="",
    )


def _paired(arm: Sequence[float | None], baseline: Sequence[float | None]) -> Floats:
    pairs = [(a, b) for a, b in zip(arm, baseline, strict=True) if a is not None and b is not None]
    return subtract(*zip(*pairs, strict=True)) if pairs else np.empty(0)


def _adjust(measured: Sequence[Contrast]) -> list[Contrast]:
    """Adjust the p-values of either family; what could not be tested stays without one."""
    primary = [contrast for contrast in measured if contrast.primary]
    other = [contrast for contrast in measured if not contrast.primary and contrast.p_value is not None]
    family = [*holm([_p(contrast) for contrast in primary]), *benjamini_hochberg([_p(contrast) for contrast in other])]
    adjusted = {
        (contrast.arm, contrast.metric): float(value)
        for contrast, value in zip([*primary, *other], family, strict=True)
        if contrast.p_value is not None
    }
    return [c.model_copy(update={"p_adjusted": adjusted.get((c.arm, c.metric))}) for c in measured]


def _p(contrast: Contrast) -> float:
    return 1.0 if contrast.p_value is None else contrast.p_value
