"""Evaluation: what the test part says of logits at a temperature, and which temperature they are served at."""

import numpy as np

from samplers.calibration import (
    TemperatureFit,
    bootstrap_intervals,
    confusion,
    figures,
    fit_temperature,
    reliability,
)
from server.finetuning.outcome import Figures, Interval, Judged
from server.finetuning.plan import Plan


def judge(logits: np.ndarray, labels: np.ndarray, temperature: float, seed: int) -> Judged:
    """Look at logits at a temperature.

    Args:
        logits: float32 [rows, classes], finite.
        labels: int64 [rows].
        temperature: they are divided by, > 0.
        seed: of the intervals' resamples; the same for two temperatures draws the same rows.
    """
    intervals = bootstrap_intervals(logits, labels, temperature, seed=seed)
    return Judged(
        temperature=temperature,
        figures=Figures(**figures(logits, labels, temperature)),
        intervals={name: Interval(low=ends.low, high=ends.high) for name, ends in intervals.items()},
        reliability=[tuple(part) for part in reliability(logits, labels, temperature)],
    )


def confused(logits: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """Count the rows of each class (first index) that were taken for each class (second)."""
    return confusion(logits, labels).tolist()


def fitted(plan: Plan, logits: np.ndarray, labels: np.ndarray) -> TemperatureFit | None:
    """Fit a temperature to the calibration part; None: the plan asks for none, or there are no rows."""
    if plan.calibration.method == "none" or not len(labels):
        return None
    return fit_temperature(logits, labels)


def serving_temperature(plan: Plan, fit: TemperatureFit | None, final: float) -> float:
    """Return what the classifier is served at.

    Args:
        plan: says which: fitted, that of the end of training, or a number.
        fit: to the calibration part; without one, `fitted` is 1.
        final: temperature of the last step's loss.
    """
    if plan.serving_temperature == "fitted":
        return fit.temperature if fit is not None else 1.0
    return final if plan.serving_temperature == "final" else plan.serving_temperature
