"""Locally typical sampling: keep the tokens whose surprise is nearest to what is expected."""

from dataclasses import replace
from typing import Any

from samplers.candidates import Candidates
from samplers.xp import namespace

Array = Any


def typical_p(candidates: Candidates, p: Array) -> Candidates:
    """Keep the tokens of most typical surprise whose probability reaches p (Meister et al. 2022, arXiv:2202.00666).

    A token's surprise less the entropy is its distance less the mean distance: the logarithm of the mass is in both.
    What is nearest to the mean on either side is an interval around it, which may leave out the best tokens.

    Args:
        candidates: any.
        p: float32 [rows], in (0, 1]; 1 keeps all.
    """
    xp = namespace(candidates.distance)
    p = p[:, None]
    active = p < 1.0
    distance, weights, mean = candidates.distance, candidates.weights, candidates.mean
    gap = xp.abs(distance - mean)
    width = xp.weighted_quantile(gap, weights, xp.where(active, p * candidates.mass, float("inf")))
    typical = candidates.kept & (gap <= width)
    low = -xp.max(xp.where(typical, -distance, -float("inf")))
    high = xp.max(xp.where(typical, distance, -float("inf")))
    could_miss = active & candidates.unlisted & ~(mean + width < candidates.reach)
    return replace(
        candidates,
        low=xp.where(active, low, candidates.low),
        high=xp.where(active, high, candidates.high),
        certain=candidates.certain & ~could_miss,
    )
