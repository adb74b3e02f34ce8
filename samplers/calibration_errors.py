"""Calibration errors: how far probabilities are from the shares of rows in which they come true.

A row's confidence is its greatest probability. Each error cuts rows into bins, compares in each bin the mean of the
probabilities with the share that came true, and averages the gaps, each counted by its bin's rows. Zero says that the
bins saw no gap, not that there is none; and few rows a bin make a gap out of nothing, so that the error of a perfectly
calibrated classifier lies above 0. Arguments are those of `samplers.scores`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from samplers.scores import Floats, Integers, checked_labels, probabilities

BINS = 15  # as in Guo et al. 2017 and most papers since


class ReliabilityBin(NamedTuple):
    """Rows of about the same confidence; well calibrated, its two means agree."""

    confidence: float
    accuracy: float
    rows: int


class Judgements(NamedTuple):
    """What was believed of rows, and whether it came true: both float64 [rows], in [0, 1]."""

    beliefs: Floats
    truths: Floats


def reliability(
    logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0, *, bins: int = BINS
) -> list[ReliabilityBin]:
    """Return mean confidence, accuracy and number of rows of each bin of equal width that holds rows.

    Args:
        logits: [rows, classes].
        labels: [rows].
        temperature: above 0.
        bins: into which [0, 1] is cut, ≥ 1; bin b is (b/bins, (b+1)/bins], as in Guo et al. 2017.

    Raises:
        ValueError: one of them is not as said.
    """
    beliefs, truths = of_answers(logits, labels, temperature)
    places = bin_of(beliefs, bins)
    counts, believed, true = (np.bincount(places, weights, bins) for weights in (None, beliefs, truths))
    return [
        ReliabilityBin(float(believed[place] / counts[place]), float(true[place] / counts[place]), int(counts[place]))
        for place in np.flatnonzero(counts)
    ]


def ece(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0, *, bins: int = BINS) -> float:
    """Return the expected calibration error with bins of equal width, in [0, 1] (Naeini et al. 2015).

    Args:
        logits: [rows, classes].
        labels: [rows].
        temperature: above 0.
        bins: as for `reliability`.

    Raises:
        ValueError: one of them is not as said.
    """
    beliefs, truths = of_answers(logits, labels, temperature)
    return float(_gaps(beliefs - truths, bin_of(beliefs, bins), bins))


def adaptive_ece(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0, *, bins: int = BINS) -> float:
    """Return the expected calibration error with bins of equally many rows, in [0, 1] (Nguyen and O'Connor 2015).

    Args:
        logits: [rows, classes].
        labels: [rows].
        temperature: above 0.
        bins: into which the rows, sorted by confidence, are cut, the first ones a row larger where it does not come
            out even; rows of equal confidence stay in their order. More bins than rows are as many as rows.

    Raises:
        ValueError: one of them is not as said.
    """
    beliefs, truths = of_answers(logits, labels, temperature)
    _check(bins)
    gaps = (beliefs - truths)[np.argsort(beliefs, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, bins)) / len(gaps))


def classwise_ece(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0, *, bins: int = BINS) -> float:
    """Return the mean over classes of the error of the class's own probability, in [0, 1] (Kull et al. 2019).

    It looks at all probabilities and not at the greatest alone, but with many classes most of them are near 0 in every
    row, and so is the error.

    Args:
        logits: [rows, classes].
        labels: [rows].
        temperature: above 0.
        bins: as for `reliability`; a probability of 0 is in the first.

    Raises:
        ValueError: one of them is not as said.
    """
    probs = probabilities(logits, temperature)
    truths = np.eye(probs.shape[1])[checked_labels(labels, probs)]
    places = bin_of(probs, bins)
    return float(np.mean([_gaps(*pair, bins) for pair in zip((probs - truths).T, places.T, strict=True)]))


def of_answers(logits: ArrayLike, labels: ArrayLike, temperature: float) -> Judgements:
    """Return each row's confidence, and 1 where it is a hit, else 0.

    Args:
        logits: [rows, classes].
        labels: [rows].
        temperature: above 0.

    Raises:
        ValueError: one of them is not as said.
    """
    probs = probabilities(logits, temperature)
    hits = np.argmax(np.asarray(logits), axis=1) == checked_labels(labels, probs)
    return Judgements(probs.max(axis=1), hits.astype(np.float64))


def bin_of(beliefs: Floats, bins: int) -> Integers:
    """Return the place of the bin (lo, hi] of equal width that each probability is in, 0 in the first; int64.

    Args:
        beliefs: of any shape, in [0, 1].
        bins: ≥ 1.

    Raises:
        ValueError: there is no bin.
    """
    _check(bins)
    edges = np.linspace(0.0, 1.0, bins + 1)
    places: Integers = np.clip(np.searchsorted(edges, beliefs, side="left") - 1, 0, bins - 1)
    return places


def _gaps(differences: Floats, places: Integers, bins: int) -> Floats:
    answer: Floats = np.abs(np.bincount(places, differences, bins)).sum() / len(differences)
    return answer


def _check(bins: int) -> None:
    if bins < 1:
        raise ValueError(f"{bins} bins hold no rows: give at least 1")
