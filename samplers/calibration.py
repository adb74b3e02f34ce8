"""Calibration: whether a classifier's probabilities can be trusted, and the temperature that mends them.

One name for the family: scores of logits, calibration errors, the fit of a temperature, and bootstrap intervals. All is
NumPy in float64, the same for every framework.
"""

from samplers.bootstrap import RESAMPLES, bootstrap_intervals, figures
from samplers.calibration_errors import BINS, ReliabilityBin, adaptive_ece, classwise_ece, ece, reliability
from samplers.fit_temperature import FEW_ROWS, HIGHEST, LOWEST, TemperatureFit, fit_temperature
from samplers.scores import accuracy, brier, confusion, log_probabilities, macro_f1, mcc, nll, probabilities
from samplers.statistics import Interval

__all__ = [
    "BINS",
    "FEW_ROWS",
    "HIGHEST",
    "LOWEST",
    "RESAMPLES",
    "Interval",
    "ReliabilityBin",
    "TemperatureFit",
    "accuracy",
    "adaptive_ece",
    "bootstrap_intervals",
    "brier",
    "classwise_ece",
    "confusion",
    "ece",
    "figures",
    "fit_temperature",
    "log_probabilities",
    "macro_f1",
    "mcc",
    "nll",
    "probabilities",
    "reliability",
]
