"""Contrasts of the study of training temperatures: arms compared seed by seed, with corrected p-values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from samplers.multiplicity import benjamini_hochberg
from samplers.statistics import Interval, spread, t_interval

METRICS = {
    "accuracy": "accuracy, points",
    "nll_after": "NLL after calibration",
    "ece_after": "ECE after calibration, points",
    "reached": "epochs to the level",
}
HUNDREDTHS = ("accuracy", "ece_before", "ece_training", "ece_after")
HIGHER_IS_BETTER = ("accuracy",)
LEVEL_AT = 0.4  # of the control's training: the validation NLL that it has then is to be reached
ALPHA = 0.05


class Trainings:
    """The figures of all trainings of a data set, of the epoch with the best calibrated validation NLL.

    Attributes:
        seeds: that every arm has.
        trained: how many arms were.
        curves: mean validation NLL of each arm at the `looks`.
        looks: epochs done, when the validation part was asked.
    """

    def __init__(self, records: Iterable[dict], control: str, tuned: Mapping[str, Sequence[str]]) -> None:
        """Choose each training's epoch.

        Args:
            records: as `training_runs.train` returns them, of one data set.
            control: arm whose course says which NLL is to be reached.
            tuned: arms of which, for each seed, the one with the best validation NLL is taken, by the name that is
                given to the choice.
        """
        by_arm: dict[str, dict[int, dict]] = {}
        for record in records:
            by_arm.setdefault(record["arm"], {})[record["seed"]] = record
        self.seeds = sorted(set.intersection(*(set(own) for own in by_arm.values())))
        self.trained = len(by_arm)
        self._found = {}
        for arm, own in by_arm.items():
            rows = [_chosen(own[seed], by_arm[control][seed]) for seed in self.seeds]
            self._found[arm] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        for name, arms in tuned.items():
            if len(trained := [arm for arm in arms if arm in self._found]) > 1:
                self._found[name] = self._best_of(trained)
        looks = {arm: [[nll for _, nll in own[seed]["curve"]] for seed in self.seeds] for arm, own in by_arm.items()}
        self.curves = {arm: np.mean(values, axis=0) for arm, values in looks.items()}
        self.looks = [epoch for epoch, _ in by_arm[control][self.seeds[0]]["curve"]]

    def __contains__(self, arm: str) -> bool:
        """Say whether an arm was trained on this data set."""
        return arm in self._found

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the order of training."""
        return list(self._found)

    def _best_of(self, arms: Sequence[str]) -> dict[str, np.ndarray]:
        validation = np.stack([self._found[arm]["validation"] for arm in arms])
        best, seeds = validation.argmin(axis=0), np.arange(len(self.seeds))
        return {name: np.stack([self._found[arm][name] for arm in arms])[best, seeds] for name in self._found[arms[0]]}

    def values(self, arm: str, metric: str) -> np.ndarray:
        """Return a figure of an arm for each seed, accuracy and calibration errors in points."""
        return self._found[arm][metric] * (100 if metric in HUNDREDTHS else 1)


def _chosen(record: dict, control: dict) -> dict:
    """Return the figures of the best epoch, and how long the control's level took to be reached."""
    best = min(record["epochs"], key=lambda epoch: epoch["validation"])
    at_one = min(record["epochs"], key=lambda epoch: epoch["validation_at_one"])
    looks = control["curve"]
    level = looks[round(LEVEL_AT * len(looks)) - 1][1]
    epochs = next((epoch for epoch, nll in record["curve"] if nll <= level), None)
    return best | {
        "reached": looks[-1][0] if epochs is None else epochs,
        "never": epochs is None,
        "best": record["epochs"].index(best) + 1,
        "nll_chosen_at_one": at_one["nll_after"],
        "accuracy_chosen_at_one": at_one["accuracy"],
    }


@dataclass(frozen=True)
class Contrast:
    """What a choice changes: the sum of some arms less that of others, seed by seed.

    Attributes:
        question: that it is asked for.
        plus: arms.
        minus: arms; two of each make a difference of differences.
    """

    question: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]

    @property
    def name(self) -> str:
        """Say what is compared."""
        if len(self.plus) == 1:
            return f"{self.plus[0]} against {self.minus[0]}"
        return f"({self.plus[0]} – {self.minus[0]}) – ({self.minus[1]} – {self.plus[1]})"


@dataclass(frozen=True)
class Result:
    """A contrast in a metric on a data set.

    Attributes:
        contrast: what was compared.
        data: name of the data set.
        metric: name of the figure.
        mean: difference.
        interval: Student's, 95 %.
        p: of Student's test: so few seeds are too few for one of signs, once it is corrected for many contrasts.
        q: of Benjamini and Hochberg, over all contrasts and data sets in this metric.
    """

    contrast: Contrast
    data: str
    metric: str
    mean: float
    interval: Interval
    p: float
    q: float

    @property
    def verdict(self) -> str:
        """Say better, worse or open."""
        if self.q > ALPHA:
            return "open"
        return "better" if (self.mean > 0) == (self.metric in HIGHER_IS_BETTER) else "worse"


def compared(contrasts: Iterable[Contrast], trainings: dict[str, Trainings]) -> list[Result]:
    """Compare all arms that were trained, in all metrics."""
    found = []
    for metric in METRICS:
        asked = [
            (contrast, name, _differences(contrast, own, metric))
            for name, own in trainings.items()
            for contrast in contrasts
            if all(arm in own for arm in (*contrast.plus, *contrast.minus))
        ]
        p_values = [student_p(differences) for *_, differences in asked]
        for (contrast, name, differences), p, q in zip(asked, p_values, benjamini_hochberg(p_values), strict=True):
            mean, interval = float(np.mean(differences)), t_interval(differences)
            found.append(Result(contrast, name, metric, mean, interval, p, float(q)))
    return found


def student_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of a mean difference; a constant one has no spread, and gets that of its signs."""
    if spread(differences) == 0:
        return 2 / 2 ** len(differences) if differences.any() else 1.0
    return float(scipy.stats.ttest_1samp(differences, 0.0).pvalue)


def _differences(contrast: Contrast, own: Trainings, metric: str) -> np.ndarray:
    plus, minus = (sum(own.values(arm, metric) for arm in arms) for arms in (contrast.plus, contrast.minus))
    return np.asarray(plus - minus)
