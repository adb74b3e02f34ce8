"""Scores: what a classifier's logits are worth against the labels, at the temperature that divides them.

Everywhere `logits` is finite [rows, classes] with at least 1 row and 2 classes, `labels` integers [rows], each a place
among the classes, and `temperature` finite and above 0. All is reckoned in float64. A hit is a row whose greatest
logit, the first one where several tie, is its label's: temperature never changes which that is.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def log_probabilities(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """Return ln softmax(logits / temperature), float64 [rows, classes], each ≤ 0.

    Args:
        logits: see above.
        temperature: see above; however small, nothing overflows, and ln 0 is -inf.

    Raises:
        ValueError: one of them is not as above.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] < 2 or not np.all(np.isfinite(values)):
        raise ValueError(f"logits of shape {values.shape}: give finite ones, [rows, classes], with at least 2 classes")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature of {temperature} divides nothing: give a finite one above 0")
    with np.errstate(over="ignore"):  # -inf is what a class without any probability gets
        scaled = (values - values.max(axis=1, keepdims=True)) / temperature
    normaliser: Floats = np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    answer: Floats = scaled - normaliser
    return answer


def probabilities(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """Return softmax(logits / temperature), float64 [rows, classes].

    Args:
        logits: see above.
        temperature: see above.

    Raises:
        ValueError: one of them is not as above.
    """
    answer: Floats = np.exp(log_probabilities(logits, temperature))
    return answer


def nll(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0, *, label_smoothing: float = 0.0) -> float:
    """Return the mean of -ln p(label), in nats; with smoothing, that of the smoothed cross-entropy.

    Args:
        logits: see above.
        labels: see above.
        temperature: see above.
        label_smoothing: ε, the mass of the target that is spread evenly over all classes, in [0, 1).

    Raises:
        ValueError: one of them is not as above.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"a label_smoothing of {label_smoothing} leaves no label: give one in [0, 1)")
    logs = log_probabilities(logits, temperature)
    own = -float(np.mean(_of_labels(logs, checked_labels(labels, logs))))
    if label_smoothing == 0:
        return own  # 0 · inf, where a class has no probability, would be NaN
    return (1 - label_smoothing) * own - label_smoothing * float(np.mean(logs))


def brier(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> float:
    """Return the mean squared distance of the probabilities from the label's unit vector, in [0, 2] (Brier 1950).

    Args:
        logits: see above.
        labels: see above.
        temperature: see above.

    Raises:
        ValueError: one of them is not as above.
    """
    return float(np.mean(squared_distances(probabilities(logits, temperature), labels)))


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of hits, in [0, 1].

    Args:
        logits: see above.
        labels: see above.

    Raises:
        ValueError: one of them is not as above.
    """
    return float(np.trace(confusion(logits, labels)) / len(np.asarray(labels)))


def macro_f1(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over classes of F1, in [0, 1]; a class that is neither a label nor an answer is left out.

    Args:
        logits: see above.
        labels: see above.

    Raises:
        ValueError: one of them is not as above.
    """
    counts = confusion(logits, labels)
    return float(mean_f1(np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)))


def mcc(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return Matthews' correlation of answers and labels, in [-1, 1], 0 where either is constant (Gorodkin 2004).

    Args:
        logits: see above.
        labels: see above.

    Raises:
        ValueError: one of them is not as above.
    """
    counts = confusion(logits, labels)
    return float(matthews(np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)))


def confusion(logits: ArrayLike, labels: ArrayLike) -> Integers:
    """Count the rows of each class (first index) that are taken for each class (second), int64 [classes, classes].

    Args:
        logits: see above.
        labels: see above.

    Raises:
        ValueError: one of them is not as above.
    """
    logs = log_probabilities(logits)
    classes, answers = logs.shape[1], np.argmax(np.asarray(logits, dtype=np.float64), axis=1)
    cells = checked_labels(labels, logs) * classes + answers
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def checked_labels(labels: ArrayLike, rows: Floats) -> Integers:
    """Return labels as int64 [rows].

    Args:
        labels: see above.
        rows: what they are the labels of, [rows, classes].

    Raises:
        ValueError: they are not one for each row, or not places among the classes.
    """
    values = np.asarray(labels)
    if values.shape != rows.shape[:1] or values.dtype.kind not in "iu":
        raise ValueError(f"labels of shape {values.shape} and type {values.dtype}: give {len(rows)} integers")
    if values.min() < 0 or values.max() >= rows.shape[1]:
        raise ValueError(f"labels from {values.min()} to {values.max()}: give places among {rows.shape[1]} classes")
    return values.astype(np.int64)


def squared_distances(probs: Floats, labels: ArrayLike) -> Floats:
    """Return each row's squared distance from its label's unit vector, float64 [rows], each in [0, 2].

    Args:
        probs: [rows, classes].
        labels: see above.
    """
    own = _of_labels(probs, checked_labels(labels, probs))
    answer: Floats = (probs**2).sum(axis=1) - own**2 + (1 - own) ** 2
    return answer


def mean_f1(hits: ArrayLike, rows: ArrayLike, answers: ArrayLike) -> Floats:
    """Return the mean F1 over the classes that are a label or an answer.

    Args:
        hits: of each class, [..., classes].
        rows: that have its label.
        answers: that name it.
    """
    together = np.asarray(rows) + np.asarray(answers)
    scores = 2 * np.asarray(hits) / np.maximum(together, 1)
    answer: Floats = scores.sum(axis=-1) / (together > 0).sum(axis=-1)
    return answer


def matthews(hits: ArrayLike, rows: ArrayLike, answers: ArrayLike) -> Floats:
    """Return Matthews' correlation from the counts that `mean_f1` takes; 0 where labels or answers are constant."""
    of_labels, of_answers = np.asarray(rows, dtype=np.float64), np.asarray(answers, dtype=np.float64)
    total = of_labels.sum(axis=-1)
    covariance = np.asarray(hits, dtype=np.float64).sum(axis=-1) * total - (of_labels * of_answers).sum(axis=-1)
    spread = (total**2 - (of_labels**2).sum(axis=-1)) * (total**2 - (of_answers**2).sum(axis=-1))
    answer: Floats = np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
    return answer


def _of_labels(values: Floats, labels: Integers) -> Floats:
    answer: Floats = np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
    return answer
