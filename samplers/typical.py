"""Locally typical sampling: keep the tokens whose surprise is nearest to what is expected."""

from typing import Any

from samplers.candidates import Candidates

Array = Any


def typical_p(candidates: Candidates, p: Array) -> Candidates:
    """Keep the tokens of most typical surprise whose probability reaches p (Meister et al. 2022, arXiv:2202.00666).

    A token's surprise less the entropy is its distance less the mean distance: the logarithm of the mass is in both.
    What is nearest to the mean on either side is an interval around it, which may leave out the best tokens.

    Args:
        candidates: any.
        p: float32 [rows], in (0, 1]; 1 keeps all.
    """
    p = p[:, None]
    active = p < 1.0
    sums = candidates.sums(active)
    width = candidates.quantile(p * sums.mass, centre=sums.mean, wanted=active)
    return candidates.between(*candidates.extent(sums.mean, width, wanted=active), active)
