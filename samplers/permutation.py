"""Permutation tests: how often chance alone, by exchanging what is exchangeable, makes as great a difference."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplers.statistics import ROUNDING, checked

Sample = TypeVar("Sample")
EXACT_UP_TO = 12  # pairs; 4,096 relabellings
DRAWS = 9_999
_AT_ONCE = 1_000_000  # signs


def sign_flip_p(differences: ArrayLike, *, seed: int = 0) -> float:
    """Return the two-sided p-value of the mean difference under random signs (Fisher 1935).

    If the arms do not differ, each prompt's difference is as likely as its negative. Exact for up to 12 prompts;
    beyond, (b + 1) / (R + 1) of R = 9,999 draws, which is a valid p-value by itself. All differences 0 give 1,
    and n equal ones, the least that can be, 2 / 2ⁿ.

    Args:
        differences: finite [prompts], at least 1.
        seed: of the draws.

    Raises:
        ValueError: there is none, or one is not finite.
    """
    values = checked(differences)
    swaps = _swaps(len(values), seed)
    blocks = np.array_split(swaps, math.ceil(swaps.size / _AT_ONCE))
    sums = np.concatenate([values.sum() - 2 * (block @ values) for block in blocks])
    return _share(np.abs(sums), abs(float(values.sum())), scale=float(np.abs(values).sum()), exact=_exact(len(values)))


def label_swap_p(
    baseline: Sequence[Sample],
    arm: Sequence[Sample],
    statistic: Callable[[Sequence[Sample], Sequence[Sample]], float],
    *,
    seed: int = 0,
) -> float:
    """Return the two-sided p-value of a statistic of one prompt's samples when labels are exchanged within pairs.

    If the arms do not differ, it makes no difference which sample of a pair is whose: so it is under common random
    numbers, too, where the two of a pair share their noise and those of different pairs do not. Ours, after Fisher's.
    Exact for up to 12 pairs, else by 9,999 draws. What it finds holds for this prompt alone.

    Args:
        baseline: its samples, at least 1; indices into a matrix made beforehand keep the statistic cheap.
        arm: its samples, as many; those at one place make a pair.
        statistic: of the baseline's and the arm's samples, finite, 0 where they do not differ, such as the difference
            of their mean pairwise distances.
        seed: of the draws.

    Raises:
        ValueError: there are not as many samples of each, or none, or the statistic is not finite.
    """
    if len(baseline) != len(arm) or not baseline:
        raise ValueError(f"{len(arm)} samples against {len(baseline)}: give as many of each, and at least 1")
    pairs = list(zip(baseline, arm, strict=True))
    observed = statistic(baseline, arm)
    relabelled = [
        statistic([pair[swap] for pair, swap in zip(pairs, row, strict=True)],
                  [pair[1 - swap] for pair, swap in zip(pairs, row, strict=True)])
        for row in _swaps(len(pairs), seed).tolist()
    ]  # fmt: skip
    sizes = np.abs(checked([observed, *relabelled]))
    return _share(sizes[1:], float(sizes[0]), scale=float(sizes.max()), exact=_exact(len(pairs)))


def fewest_pairs(alpha: float) -> int:
    """Return from how many prompts on the sign-flip test can reach a level at all: 2 / 2ⁿ ≤ alpha.

    Args:
        alpha: level of the test, in (0, 1]; 0.05 needs 6, and 0.025, two tests of a family of 0.05, needs 7.
    """
    return math.ceil(math.log2(2 / alpha) - ROUNDING)


def _exact(pairs: int) -> bool:
    return pairs <= EXACT_UP_TO


def _swaps(pairs: int, seed: int) -> NDArray[np.int8]:
    """Return which pairs are exchanged, 1, and which are not, 0: int8 [relabellings, pairs]."""
    if _exact(pairs):
        return ((np.arange(2**pairs)[:, None] >> np.arange(pairs)) & 1).astype(np.int8)
    return np.random.default_rng(seed).integers(0, 2, (DRAWS, pairs), dtype=np.int8)


def _share(sizes: NDArray[np.float64], observed: float, *, scale: float, exact: bool) -> float:
    """Return the share of relabellings as great as what was observed, which is one of them."""
    reached = int(np.sum(sizes >= observed - ROUNDING * scale))
    return reached / len(sizes) if exact else (reached + 1) / (len(sizes) + 1)
