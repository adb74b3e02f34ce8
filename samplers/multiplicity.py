"""Multiplicity: what p-values are worth when there are several of them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted so that one false alarm in the whole family is as rare as each says (Holm 1979).

    Args:
        p_values: [tests], each in [0, 1]; none gives none.

    Raises:
        ValueError: one is not in [0, 1].
    """
    values = _checked(p_values)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    return _restored(np.maximum.accumulate(steps), order)


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return q-values: of the findings up to one's q, no more than a share of q is false (Benjamini, Hochberg 1995).

    Args:
        p_values: [tests], each in [0, 1]; none gives none.

    Raises:
        ValueError: one is not in [0, 1].
    """
    values = _checked(p_values)
    order = np.argsort(values, kind="stable")[::-1]
    steps = values[order] * len(values) / np.arange(len(values), 0, -1)
    return _restored(np.minimum.accumulate(steps), order)


def _checked(p_values: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"p-values of shape {values.shape}: give one row of numbers from 0 to 1")
    return values


def _restored(steps: NDArray[np.float64], order: NDArray[np.intp]) -> NDArray[np.float64]:
    adjusted = np.empty_like(steps)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
