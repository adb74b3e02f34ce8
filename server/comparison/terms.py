"""Terms: what a comparison is judged by, settled before a sample is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.comparison.result import Metric

LEAST_PROMPTS = 6  # 2 / 2⁵ is above 0.05: five prompts can never show a difference


@dataclass(frozen=True, slots=True)
class Label:
    """How a metric is spoken of.

    Attributes:
        name: within a sentence, as `distance`.
        unit: as `nats`; empty where it has none.
        greater: what an arm does whose value is the greater, as `is more diverse`; by default, `has higher <name>`.
        lesser: likewise where it is the lesser.
    """

    name: str
    unit: str = ""
    greater: str = ""
    lesser: str = ""

    def comparative(self, difference: float) -> str:
        """Return what an arm does that differs from another by this."""
        if difference > 0:
            return self.greater or f"has higher {self.name}"
        return self.lesser or f"has lower {self.name}"


@dataclass(frozen=True, slots=True)
class Terms:
    """The question, its error rate and its family of tests.

    Attributes:
        baseline: the arm that the others are compared with.
        arms: names of all arms, the baseline among them; one that fails later still counts.
        prompts: how many there are, ≥ 1.
        primaries: metrics that a verdict is about, the most important one first, at least one.
        labels: of every metric that is compared.
        alpha: how often a comparison of equal arms may give a false alarm in any primary metric, in (0, 1).
        margins: per metric, the greatest difference that does not matter, above 0; only these are tested for
            equivalence. One test each at alpha: to claim it of several metrics together needs no correction.
        replicas: arms that are the baseline again with other seeds; they show the noise floor.

    Raises:
        ValueError: a name is not that of an arm, or a metric has no label.
    """

    baseline: str
    arms: tuple[str, ...]
    prompts: int
    primaries: tuple[Metric, ...]
    labels: Mapping[Metric, Label]
    alpha: float = 0.05
    margins: Mapping[Metric, float] = field(default_factory=dict)
    replicas: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if strangers := ({self.baseline} | self.replicas) - set(self.arms):
            raise ValueError(f"{', '.join(sorted(strangers))}: no such arm among {', '.join(self.arms)}")
        if unlabelled := (set(self.primaries) | set(self.margins)) - set(self.labels):
            raise ValueError(f"{', '.join(sorted(unlabelled))}: give each metric a label")

    @property
    def others(self) -> tuple[str, ...]:
        """Return the arms but the baseline."""
        return tuple(arm for arm in self.arms if arm != self.baseline)

    def level(self, metric: Metric) -> float:
        """Return the level at which one test must reject, at worst, to count: alpha, shared among primaries."""
        if metric not in self.primaries:
            return self.alpha
        return self.alpha / max(1, len(self.others) * len(self.primaries))
