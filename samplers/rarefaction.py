"""Rarefaction: how many clusters fewer samples would show, and whether two would differ, in expectation."""

from collections.abc import Sequence

import numpy as np


def rarefied(sizes: Sequence[int]) -> list[float]:
    """Return the expected number of clusters among 1, 2, … of the texts, drawn without replacement (Hurlbert 1971).

    It is Σ over clusters of 1 - C(N - n, k) / C(N, k), an unbiased estimate of what k new samples would show, and
    the unbiased pass@k (Chen et al. 2021) summed over clusters.

    Args:
        sizes: n, of each cluster, ≥ 1; N is their sum.

    Returns:
        One value for each k from 1 to N, the last the number of clusters; none where there is no cluster.
    """
    total = sum(sizes)
    left = total - np.arange(total, dtype=np.float64)  # N, N - 1, …, 1
    absent = [np.cumprod((left - size) / left) for size in sizes]  # that k draws miss the cluster; 0 once they cannot
    return [float(value) for value in np.sum([1 - each for each in absent], axis=0)] if absent else []


def simpson(sizes: Sequence[int]) -> float | None:
    """Return the probability that two different texts are of different clusters, unbiased (Simpson 1949).

    Args:
        sizes: of each cluster, ≥ 1.

    Returns:
        In [0, 1]; None for fewer than two texts.
    """
    total = sum(sizes)
    if total < 2:
        return None
    return 1 - sum(size * (size - 1) for size in sizes) / (total * (total - 1))
