"""Report: what a comparison found, as it is stored, answered over HTTP and drawn in report.html."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Metric = str  # a key of `server.comparison.metrics`


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Part):
    """A confidence interval."""

    low: float
    high: float


class Counts(_Part):
    """What became of an arm's samples: attempted = completed + failed; empty and dropped ones are completed."""

    attempted: int
    completed: int
    failed: int
    empty: int
    dropped: int  # too short for the common token budget


class ArmResult(_Part):
    """One arm: what it was, and its metrics, means over prompts of equal weight; null where nothing could be said."""

    name: str
    model: str
    framework: str
    resolved: dict[str, Any]
    metrics: dict[Metric, float | None]
    intervals: dict[Metric, Interval | None]
    per_prompt: dict[Metric, list[float | None]]
    counts: Counts
    finish_reasons: dict[str, int]
    lengths: list[int]
    entropy_by_position: list[float]
    rarefaction: list[float]  # expected number of distinct texts among 1, 2, … samples
    error: str | None = None


class Contrast(_Part):
    """An arm less the baseline in one metric, paired by prompt."""

    arm: str
    baseline: str
    metric: Metric
    primary: bool
    prompts: int
    difference: float | None
    ci_low: float | None
    ci_high: float | None
    bca_low: float | None
    bca_high: float | None
    p_value: float | None
    p_adjusted: float | None
    adjustment: Literal["holm", "bh"]
    effect_size: float | None
    wins: int  # prompts in which the arm's value is the greater
    ties: int
    losses: int
    minimum_detectable: float | None  # difference found with 80 % power at this many prompts
    equivalent: bool | None = None  # within the margin asked for; null where none was
    equivalence_p: float | None = None
    verdict: str


class Report(_Part):
    """A comparison's outcome; `verdict` says it in plain words."""

    baseline: str
    prompts: list[str]
    samples_per_prompt: int
    max_tokens: int
    seed: int
    common_random_numbers: bool
    token_budget: list[int | None]  # of each prompt: tokens of a completion that length-sensitive metrics look at
    arms: list[ArmResult]
    comparisons: list[Contrast]
    warnings: list[str]
    verdict: list[str]
