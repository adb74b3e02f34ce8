"""Truncation: which tokens may be drawn. Each rule returns a bound on the distance; tokens within it are kept.

A distance is how far a token lies below the best one, ≥ 0 (see temperature.py). Every rule keeps the nearest tokens, at
least one, and all that tie at its boundary; no rule sorts (see `weighted_quantile` in xp/numpy.py).
"""

from typing import Any

from samplers.xp import namespace

Array = Any


def bound_top_k(distance: Array, top_k: Array) -> Array:
    """Bound the k nearest tokens (Fan et al. 2018, arXiv:1805.04833).

    Args:
        distance: float32 [rows, vocab], ≥ 0.
        top_k: int32 [rows]; 0, or anything from the vocabulary's size up, keeps all.

    Returns:
        float32 [rows, 1].
    """
    xp = namespace(distance)
    k = xp.astype(top_k, xp.float32)
    return xp.weighted_quantile(distance, None, xp.where(top_k > 0, k, float("inf"))[:, None])


def bound_top_p(distance: Array, weights: Array, top_p: Array) -> Array:
    """Bound the nucleus, the fewest tokens whose probability reaches p (Holtzman et al. 2020, arXiv:1904.09751).

    Args:
        distance: float32 [rows, vocab], ≥ 0.
        weights: exp(-distance) where a token is still kept, else 0; float32 [rows, vocab]. They need not sum to 1.
        top_p: float32 [rows], in (0, 1]; 1 keeps all.

    Returns:
        float32 [rows, 1].
    """
    xp = namespace(distance)
    p = top_p[:, None]
    return xp.weighted_quantile(distance, weights, xp.where(p < 1.0, p * xp.sum(weights), float("inf")))


def keep_min_p(weights: Array, min_p: Array) -> Array:
    """Keep tokens at least min_p times as probable as the best (Nguyen et al. 2024, arXiv:2407.01082).

    Args:
        weights: exp(-distance), float32 [rows, vocab]; 1 for the best token.
        min_p: float32 [rows], in [0, 1]; 0 keeps all.

    Returns:
        bool [rows, vocab].
    """
    return weights >= min_p[:, None]
