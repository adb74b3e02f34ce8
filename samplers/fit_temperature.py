"""Temperature scaling: the one temperature at which held-out logits are worth the most (Guo et al. 2017)."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy  # type: ignore[import-untyped]  # loads its parts when they are used
from numpy.typing import ArrayLike

from samplers.scores import Floats, Integers, checked_labels, log_probabilities, nll

LOWEST, HIGHEST = 0.05, 20.0
FEW_ROWS = 200
_PRECISION = 1e-12


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """What a fit found.

    Attributes:
        temperature: in (0.05, 20]; 1 where no other is better, and where the least NLL is below 0.05.
        nll_before: at temperature 1, nats.
        nll_after: at the temperature found, no greater.
        rows: that were fitted to.
        at_bound: which end of the range the least NLL is at, since beyond it the NLL would fall further; None: at
            neither. At the low end all rows are told right, which says nothing of how sure to be: nothing is fitted.
        single_class: whether all rows had one label, so that nothing was fitted.
    """

    temperature: float
    nll_before: float
    nll_after: float
    rows: int
    at_bound: Literal["low", "high"] | None
    single_class: bool

    @property
    def improved(self) -> bool:
        """Whether the NLL is less than at temperature 1."""
        return self.nll_after < self.nll_before

    @property
    def few_rows(self) -> bool:
        """Whether there were fewer than 200 rows, so that other rows would give quite another temperature."""
        return self.rows < FEW_ROWS

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be known of the fit beside `few_rows`, in sentences; none where all is well."""
        found = []
        if self.single_class:
            found.append("all calibration rows have one label, so the temperature stays 1; give rows of several")
        elif self.at_bound == "low":
            found.append(
                "the calibration rows are all told right, and say nothing of how sure to be elsewhere, so the "
                "temperature stays 1; give more or harder ones"
            )
        elif not self.improved:
            found.append("no temperature improves on 1 for the calibration rows, so it stays 1")
        if self.at_bound == "high":
            found.append(
                f"the temperature is at {HIGHEST:g}, the greatest allowed: for the calibration rows the classifier is "
                "no better than chance; look at its accuracy"
            )
        return tuple(found)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> TemperatureFit:
    """Find the temperature in (0.05, 20] of least NLL.

    The NLL is convex in β = 1/T, so that it has one minimum: where its slope in β, the mean over rows of the expected
    logit less the label's, changes its sign. A root of the slope is exact to twelve digits, where a search for the
    least value ends at six.

    Args:
        logits: finite [rows, classes], of rows that training has not seen, with dropout off.
        labels: places among the classes, [rows].

    Raises:
        ValueError: one of them is not as said.
    """
    values = np.asarray(logits, dtype=np.float64)
    wanted = checked_labels(labels, log_probabilities(values))
    before = nll(values, wanted)
    unfitted = TemperatureFit(1.0, before, before, len(wanted), at_bound=None, single_class=len(np.unique(wanted)) == 1)
    if unfitted.single_class:
        return unfitted
    temperature, at_bound = _least(values - values.max(axis=1, keepdims=True), wanted)
    after = nll(values, wanted, temperature)
    if not after < before - _PRECISION * abs(before):
        return unfitted
    if at_bound == "low":
        return replace(unfitted, at_bound="low")
    return TemperatureFit(temperature, before, after, len(wanted), at_bound=at_bound, single_class=False)


def _least(values: Floats, labels: Integers) -> tuple[float, Literal["low", "high"] | None]:
    own = values[np.arange(len(labels)), labels]

    def slope(beta: float) -> float:
        expected = (np.exp(log_probabilities(values, 1 / beta)) * values).sum(axis=1)
        return float(np.mean(expected - own))

    coldest, hottest = 1 / LOWEST, 1 / HIGHEST
    if slope(coldest) <= 0:
        return LOWEST, "low"
    if slope(hottest) >= 0:
        return HIGHEST, "high"
    log_beta = scipy.optimize.brentq(
        lambda x: slope(math.exp(x)), math.log(hottest), math.log(coldest), xtol=_PRECISION
    )
    return math.exp(-log_beta), None
