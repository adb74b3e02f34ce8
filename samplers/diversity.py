"""Diversity of one prompt's texts, seen two by two: how unlike they are on average, and how many they amount to.

A mean over pairs of different texts has the same expectation whatever their number; no other metric of diversity here
has. All see words, not meaning: they speak of lexical diversity.
"""

import math
import zlib
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from samplers.ngrams import Floats, Gram, inner_products, ngrams


def similarity(sequences: Sequence[Sequence[Hashable]], orders: Iterable[int] = (1, 2)) -> Floats:
    """Return the mean, over orders n, of the cosines between the texts' counts of n-grams.

    A text shorter than n counts as one n-gram, itself: so it equals its like, and nothing else, and the empty text
    its like. The matrix is positive semi-definite, its diagonal 1 exactly.

    Args:
        sequences: tokens or words of each text, any number.
        orders: lengths of n-grams, each ≥ 1; at least one.

    Returns:
        float64 [texts, texts], each in [0, 1].
    """
    kernels = [_cosines(inner_products([_grams(sequence, n) for sequence in sequences])) for n in orders]
    return np.asarray(np.mean(kernels, axis=0))


def pairwise_distance(similarity: Floats) -> float | None:
    """Return the mean of 1 - similarity over pairs of different texts; ours, of the U-statistics (Hoeffding 1948).

    Args:
        similarity: [texts, texts], symmetric, as of `similarity`; a part of such a matrix, too.

    Returns:
        In [0, 1], 0 where all texts are equal, 1 where no two share an n-gram; None for fewer than two.
    """
    count = len(similarity)
    return float(np.sum(_distances(similarity)) / (count * (count - 1))) if count > 1 else None


def distance_error(similarity: Floats) -> float | None:
    """Return the standard error of `pairwise_distance` by the jackknife, a text left out at a time (Tukey 1958).

    It speaks of other texts for this prompt, not of other prompts.

    Args:
        similarity: [texts, texts], symmetric, as of `similarity`.

    Returns:
        At least 0; None for fewer than three texts, since one text alone has no distance.
    """
    count = len(similarity)
    if count < 3:
        return None
    distances = _distances(similarity)
    without = (np.sum(distances) - 2 * np.sum(distances, axis=1)) / ((count - 1) * (count - 2))
    return float(np.std(without) * math.sqrt(count - 1))


def vendi(similarity: Floats) -> float | None:
    """Return the Vendi score, the effective number of different texts (Friedman and Dieng 2023).

    It is exp(-Σ λ ln λ) over the eigenvalues λ of the matrix divided by the number of texts. Long texts bring it
    near that number, so compare it at equal number and length alone.

    Args:
        similarity: [texts, texts], positive semi-definite with a diagonal of 1.

    Returns:
        From 1, where all texts are equal, to the number of texts, where no two share an n-gram; None for fewer than
        two.
    """
    if len(similarity) < 2:
        return None
    eigenvalues = np.linalg.eigvalsh(similarity / len(similarity))
    shares = eigenvalues[eigenvalues > 0]  # rounding puts some zeros below 0; λ ln λ of 0 is 0
    return float(np.exp(-np.sum(shares * np.log(shares))))


def compression_ratio(texts: Sequence[str]) -> float | None:
    """Return how many times smaller zlib makes the texts, joined by newlines (Shaib et al. 2024).

    Greater where texts repeat themselves or one another. What zlib itself adds weighs on short texts: a few words
    may give less than 1.

    Args:
        texts: any number.

    Returns:
        Bytes of UTF-8 per byte compressed at level 9; None where all texts are empty.
    """
    if not any(texts):
        return None
    plain = "\n".join(texts).encode()
    return len(plain) / len(zlib.compress(plain, 9))


def _grams(sequence: Sequence[Hashable], n: int) -> list[Gram]:
    return ngrams(sequence, n) or [tuple(sequence)]


def _cosines(products: Floats) -> Floats:
    squares = np.diagonal(products)
    return products / np.sqrt(np.outer(squares, squares))  # the root of a whole product: equal texts give 1 exactly


def _distances(similarity: Floats) -> Floats:
    distances = 1 - similarity
    np.fill_diagonal(distances, 0)  # a text is no pair
    return distances
