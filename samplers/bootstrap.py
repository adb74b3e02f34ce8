"""Bootstrap: how far a classifier's figures would move with other rows of the same kind (Efron 1979).

Rows are drawn again with replacement, as many as there are, and every figure is reckoned anew. The ends of an interval
are percentiles of what came out. The calibration errors take absolute values, so that noise can only raise them: their
intervals lie high, above the figure itself where the classifier is nearly calibrated.
"""

from collections.abc import Iterator

import numpy as np
import scipy  # type: ignore[import-untyped]  # loads its parts when they are used
from numpy.typing import ArrayLike

from samplers.calibration_errors import BINS, adaptive_ece, bin_of, classwise_ece, ece, of_answers
from samplers.scores import (
    Floats,
    Integers,
    accuracy,
    brier,
    checked_labels,
    log_probabilities,
    macro_f1,
    matthews,
    mcc,
    mean_f1,
    nll,
    squared_distances,
)
from samplers.statistics import Interval

RESAMPLES = 1_000
_AT_ONCE = 4_000_000  # numbers of a block of resamples, 32 MB


def figures(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> dict[str, float]:
    """Return accuracy, macro_f1, mcc, nll, brier, ece, adaptive_ece and classwise_ece, by name.

    Args:
        logits: finite [rows, classes].
        labels: places among the classes, [rows].
        temperature: above 0.

    Raises:
        ValueError: one of them is not as said.
    """
    of_hits = {score.__name__: score(logits, labels) for score in (accuracy, macro_f1, mcc)}
    measures = (nll, brier, ece, adaptive_ece, classwise_ece)
    return of_hits | {measure.__name__: measure(logits, labels, temperature) for measure in measures}


def bootstrap_intervals(
    logits: ArrayLike,
    labels: ArrayLike,
    temperature: float = 1.0,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return an interval of each of the `figures`, by name, over rows.

    Args:
        logits: finite [rows, classes].
        labels: places among the classes, [rows].
        temperature: above 0.
        confidence: share of the resamples between the ends, in (0, 1).
        resamples: ≥ 1.
        seed: of the resamples, ≥ 0; the same for two temperatures draws the same rows.

    Raises:
        ValueError: one of them is not as said.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"confidence {confidence}, {resamples} resamples: give one in (0, 1), and at least 1")
    rows = _Rows(logits, labels, temperature)
    blocks = [rows.resampled(counts) for counts in _draw(rows.count, resamples, seed)]
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    ends = {name: np.quantile(np.concatenate([block[name] for block in blocks]), tails) for name in blocks[0]}
    return {name: Interval(float(low), float(high)) for name, (low, high) in ends.items()}


def _draw(rows: int, resamples: int, seed: int) -> Iterator[Integers]:
    """Yield how often each row was drawn in each resample, int64 [some resamples, rows]."""
    random, even = np.random.default_rng(seed), np.full(rows, 1 / rows)
    block = max(1, _AT_ONCE // rows)
    for start in range(0, resamples, block):
        yield random.multinomial(rows, even, size=min(block, resamples - start))


class _Rows:
    """Rows, each with its share of every figure, so that a resample is a matrix product.

    The bins of equal numbers of rows differ from resample to resample; the sorted rows, each repeated as often as it
    was drawn, are cut anew.
    """

    def __init__(self, logits: ArrayLike, labels: ArrayLike, temperature: float) -> None:
        logs = log_probabilities(logits, temperature)
        probs, self._classes = np.exp(logs), logs.shape[1]
        own = checked_labels(labels, logs)
        self.count = len(own)
        confidences, hits = of_answers(logits, labels, temperature)
        answers, each = np.argmax(np.asarray(logits), axis=1), np.ones(self.count)
        self._order = np.argsort(confidences, kind="stable")
        self._gaps = (confidences - hits)[self._order]
        self._scores = np.stack([hits, -logs[np.arange(self.count), own], squared_distances(probs, own)], 1)
        self._hits = _spread(own, hits, self._classes)
        self._labels, self._answers = _spread(own, each, self._classes), _spread(answers, each, self._classes)
        self._binned = _spread(bin_of(confidences, BINS), confidences - hits, BINS)
        cells = bin_of(probs, BINS) + BINS * np.arange(self._classes)
        self._by_class = _spread(cells, probs - np.eye(self._classes)[own], BINS * self._classes)

    def resampled(self, counts: Integers) -> dict[str, Floats]:
        """Return the figures of resamples, each float64 [resamples].

        Args:
            counts: of each row, [resamples, rows].
        """
        drawn = counts.astype(np.float64)
        hits, nats, squares = (drawn @ self._scores / self.count).T
        table = [(drawn @ part) for part in (self._hits, self._labels, self._answers)]
        return {
            "accuracy": hits,
            "macro_f1": mean_f1(*table),
            "mcc": matthews(*table),
            "nll": nats,
            "brier": squares,
            "ece": np.abs(drawn @ self._binned).sum(axis=1) / self.count,
            "adaptive_ece": self._adaptive(counts),
            "classwise_ece": np.abs(drawn @ self._by_class).sum(axis=1) / self.count / self._classes,
        }

    def _adaptive(self, counts: Integers) -> Floats:
        repeated = np.repeat(np.tile(self._gaps, len(counts)), counts[:, self._order].ravel())
        parts = np.array_split(repeated.reshape(len(counts), self.count), BINS, axis=1)
        return sum((np.abs(part.sum(axis=1)) for part in parts), np.zeros(len(counts))) / self.count


def _spread(columns: Integers, values: ArrayLike, width: int) -> scipy.sparse.csr_array:
    """Put each row's values into the columns that it names: a sparse float64 [rows, width].

    Args:
        columns: [rows] or [rows, values of a row].
        values: of the same shape.
        width: number of columns.
    """
    starts = np.linspace(0, columns.size, len(columns) + 1, dtype=np.int64)
    filled = np.asarray(values, dtype=np.float64)
    return scipy.sparse.csr_array((filled.ravel(), columns.ravel(), starts), shape=(len(columns), width))
