"""Truncation: which tokens may be drawn. Each rule narrows what the one before it kept.

Every rule renormalises over what is still kept, keeps at least one token and all that tie at its boundary, and takes an
array of its parameter, one value a row; no rule sorts (see `weighted_quantile` in xp/numpy.py).
"""

from typing import Any

from samplers.candidates import Candidates
from samplers.xp import namespace

Array = Any


def top_n_sigma(candidates: Candidates, n: Array) -> Candidates:
    """Keep logits within n standard deviations of the best (Tang et al. 2024, arXiv:2411.07641).

    Args:
        candidates: of which none is cut off yet.
        n: float32 [rows], ≥ 0; 0 keeps all.
    """
    n = n[:, None]
    return candidates.within(n * candidates.whole.deviation, n > 0.0)


def top_k(candidates: Candidates, k: Array) -> Candidates:
    """Keep the k nearest tokens (Fan et al. 2018, arXiv:1805.04833).

    Args:
        candidates: of which the nearest tokens are all kept.
        k: int32 [rows]; 0, or anything from the vocabulary's size up, keeps all.
    """
    xp = namespace(candidates.distance)
    active = (k > 0)[:, None]
    target = xp.where(active, xp.astype(k, xp.float32)[:, None], float("inf"))
    bound = xp.weighted_quantile(candidates.distance, None, target)
    return candidates.within(bound, active & (target < candidates.whole.count))


def top_p(candidates: Candidates, p: Array) -> Candidates:
    """Keep the nucleus, the fewest tokens whose probability reaches p (Holtzman et al. 2020, arXiv:1904.09751).

    Args:
        candidates: any.
        p: float32 [rows], in (0, 1]; 1 keeps all.
    """
    xp = namespace(candidates.distance)
    p = p[:, None]
    active = p < 1.0
    target = xp.where(active, p * candidates.mass, float("inf"))
    return candidates.within(xp.weighted_quantile(candidates.distance, candidates.weights, target), active)


def min_p(candidates: Candidates, p: Array) -> Candidates:
    """Keep tokens at least p times as probable as the best one kept (Nguyen et al. 2024, arXiv:2407.01082).

    Args:
        candidates: any.
        p: float32 [rows], in [0, 1]; 0 keeps all.
    """
    xp = namespace(candidates.distance)
    p = p[:, None]
    return candidates.within(candidates.low - xp.log(p), p > 0.0)


def epsilon_cutoff(candidates: Candidates, epsilon: Array) -> Candidates:
    """Keep tokens of probability ε and more (Hewitt et al. 2022, arXiv:2210.15191).

    Args:
        candidates: any.
        epsilon: float32 [rows], in [0, 1); 0 keeps all.
    """
    xp = namespace(candidates.distance)
    epsilon = epsilon[:, None]
    return candidates.within(-xp.log(epsilon * candidates.mass), epsilon > 0.0)


def eta_cutoff(candidates: Candidates, eta: Array) -> Candidates:
    """Keep tokens of probability min(η, √η · exp(-entropy)) and more (Hewitt et al. 2022, arXiv:2210.15191).

    Args:
        candidates: any.
        eta: float32 [rows], in [0, 1); 0 keeps all.
    """
    xp = namespace(candidates.distance)
    eta = eta[:, None]
    # As weights, which are probabilities times the mass: exp(-entropy) is exp(-mean) / mass.
    least = xp.minimum(eta * candidates.mass, xp.sqrt(eta) * xp.exp(-candidates.mean))
    return candidates.within(-xp.log(least), eta > 0.0)
