"""Outcome: from what each prompt gave to the report."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samplers.diversity import pairwise_distance, similarity
from samplers.ngrams import Floats
from samplers.statistics import t_interval
from server.comparison.completion import Completion
from server.comparison.contrasts import LonePrompt, contrasts
from server.comparison.integrity import warnings
from server.comparison.metrics import METRICS, curves
from server.comparison.part import Part
from server.comparison.result import ArmResult, Contrast, Counts, Interval
from server.comparison.terms import Terms
from server.comparison.units import Units
from server.comparison.verdict import summary


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm as the report shows it.

    Attributes:
        model: that wrote.
        framework: that ran it.
        resolved: every parameter in force.
        units: what its completions are counted in.
    """

    model: str
    framework: str
    resolved: dict[str, Any]
    units: Units


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the parts of a report say that its plan did not know."""

    arms: list[ArmResult]
    comparisons: list[Contrast]
    warnings: list[str]
    verdict: list[str]


def outcome_of(parts: Sequence[Part], terms: Terms, arms: Mapping[str, Arm]) -> Outcome:
    """Average, compare and judge.

    Args:
        parts: of all prompts, in their order.
        terms: what was settled beforehand.
        arms: by name.
    """
    results = [_result(name, arms[name], parts, 1 - terms.alpha) for name in terms.arms]
    lone = _lone_prompt(parts[0], terms, arms) if len(parts) == 1 else None
    compared = contrasts({result.name: result.per_prompt for result in results}, terms, lone)
    return Outcome(
        arms=results,
        comparisons=compared,
        warnings=warnings(compared, results, terms),
        verdict=summary(compared, results, terms),
    )


def _result(name: str, arm: Arm, parts: Sequence[Part], confidence: float) -> ArmResult:
    shares = [part.arms[name] for part in parts]
    completions = [completion for part in parts for completion in part.completions if completion.arm == name]
    per_prompt = {metric: [share.metrics.get(metric) for share in shares] for metric in METRICS}
    drawn = curves(completions, arm.units)
    return ArmResult(
        name=name,
        model=arm.model,
        framework=arm.framework,
        resolved=arm.resolved,
        metrics={metric: _mean(values) for metric, values in per_prompt.items()},
        intervals={metric: _interval(values, confidence) for metric, values in per_prompt.items()},
        per_prompt=per_prompt,
        counts=Counts(
            attempted=sum(share.completed + share.failed for share in shares),
            completed=sum(share.completed for share in shares),
            failed=sum(share.failed for share in shares),
            empty=sum(share.empty for share in shares),
            dropped=sum(share.dropped for share in shares),
        ),
        finish_reasons=dict(Counter(completion.finish_reason for completion in completions)),
        lengths=drawn.lengths,
        entropy_by_position=drawn.entropy_by_position,
        rarefaction=drawn.rarefaction,
        error=next((share.error for share in shares if share.error), None),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _interval(values: Sequence[float | None], confidence: float) -> Interval | None:
    known = np.array([value for value in values if value is not None])
    if len(known) < 2:
        return None
    low, high = t_interval(known, confidence)
    return Interval(low=low, high=high)


@dataclass(frozen=True, slots=True)
class _Sample:
    """A completion as the tests within one prompt see it.

    Attributes:
        row: of its similarities; None: it is short of the budget.
        surprise: of all its tokens together.
        tokens: how many these are.
    """

    row: int | None
    surprise: float
    tokens: int


def _lone_prompt(part: Part, terms: Terms, arms: Mapping[str, Arm]) -> LonePrompt[_Sample]:
    """Prepare the samples of the only prompt for tests among themselves; as in the metrics, the budget cuts wording."""
    samples: dict[str, dict[int, _Sample]] = {name: {} for name in terms.arms}
    cut: list[Sequence[Hashable]] = []
    for completion in part.completions:
        units = arms[completion.arm].units.of(completion)
        short = part.budget is not None and len(units) < part.budget
        sample = _sample(None if short else len(cut), completion)
        samples[completion.arm][completion.sample_index] = sample
        if not short:
            cut.append(units[: part.budget])
    kernel = similarity(cut) if cut else np.empty((0, 0))
    measures = {"pairwise_distance": lambda own: _distance(kernel, own), "surprise": _surprise}
    return LonePrompt(
        samples,
        {metric: measures[metric] for metric in terms.primaries if metric in measures},
        {"pairwise_distance": lambda sample: sample.row is not None},
    )


def _sample(row: int | None, completion: Completion) -> _Sample:
    return _Sample(row, math.fsum(completion.surprise), len(completion.surprise))


def _distance(kernel: Floats, samples: Sequence[_Sample]) -> float:
    rows = [sample.row for sample in samples if sample.row is not None]
    distance = pairwise_distance(kernel[np.ix_(rows, rows)])
    assert distance is not None, "a test takes two samples at least"
    return distance


def _surprise(samples: Sequence[_Sample]) -> float:
    return math.fsum(sample.surprise for sample in samples) / max(1, sum(sample.tokens for sample in samples))
