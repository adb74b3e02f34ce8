"""Truncation: which tokens may be drawn. Each rule narrows what the one before it kept.

Every rule renormalises over what is still kept, keeps at least one token and all that tie at its boundary, and takes an
array of its parameter, one value a row; no rule sorts (see `weighted_quantile` in xp/numpy.py).
"""

from typing import Any

from samplers.candidates import Candidates
from samplers.xp import namespace

Array = Any


def top_n_sigma(candidates: Candidates, n: Array, sigma: Array) -> Candidates:
    """Keep logits within n standard deviations of the best (Tang et al. 2024, arXiv:2411.07641).

    Args:
        candidates: of which none is cut off yet.
        n: float32 [rows], ≥ 0, finite; 0 keeps all.
        sigma: the standard deviation, float32 [rows, 1].
    """
    n = n[:, None]
    return candidates.within(n * sigma, n > 0.0)


def top_k(candidates: Candidates, k: Array) -> Candidates:
    """Keep the k nearest tokens (Fan et al. 2018, arXiv:1805.04833).

    Args:
        candidates: of which the nearest tokens are all kept.
        k: int32 [rows]; 0, or anything from the number of tokens kept up, keeps all.
    """
    xp = namespace(candidates.distance)
    active = (k > 0)[:, None]
    return candidates.within(
        candidates.quantile(xp.astype(k, xp.float32)[:, None], wanted=active, weighted=False), active
    )


def top_p(candidates: Candidates, p: Array) -> Candidates:
    """Keep the nucleus, the fewest tokens whose probability reaches p (Holtzman et al. 2020, arXiv:1904.09751).

    Args:
        candidates: any.
        p: float32 [rows], in (0, 1]; 1 keeps all.
    """
    p = p[:, None]
    active = p < 1.0
    return candidates.within(candidates.quantile(p * candidates.sums(active).mass, wanted=active), active)


def min_p(candidates: Candidates, p: Array) -> Candidates:
    """Keep tokens at least p times as probable as the best one kept (Nguyen et al. 2024, arXiv:2407.01082).

    Args:
        candidates: any.
        p: float32 [rows], in [0, 1]; 0 keeps all.
    """
    p = p[:, None]
    return candidates.within(candidates.low - namespace(p).log(p), p > 0.0)


def epsilon_cutoff(candidates: Candidates, epsilon: Array) -> Candidates:
    """Keep tokens of probability ε and more (Hewitt et al. 2022, arXiv:2210.15191).

    Args:
        candidates: any.
        epsilon: float32 [rows], in [0, 1); 0 keeps all.
    """
    epsilon = epsilon[:, None]
    active = epsilon > 0.0
    return candidates.within(-namespace(epsilon).log(epsilon * candidates.sums(active).mass), active)


def eta_cutoff(candidates: Candidates, eta: Array) -> Candidates:
    """Keep tokens of probability min(η, √η · exp(-entropy)) and more (Hewitt et al. 2022, arXiv:2210.15191).

    Args:
        candidates: any.
        eta: float32 [rows], in [0, 1); 0 keeps all.
    """
    xp = namespace(eta)
    eta = eta[:, None]
    active = eta > 0.0
    sums = candidates.sums(active)
    # As weights, which are probabilities times the mass: exp(-entropy) is exp(-mean) / mass.
    least = xp.minimum(eta * sums.mass, xp.sqrt(eta) * xp.exp(-sums.mean))
    return candidates.within(-xp.log(least), active)
