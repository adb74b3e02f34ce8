"""Clusters: which texts say the same, letter by letter or nearly, by their words alone."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from samplers.ngrams import inner_products

NEAR = 0.458  # ROUGE-1 F above which texts are near-duplicates, as NoveltyBench fitted it to human judgements
FEW_WORDS = 5  # texts up to this length are near-duplicates if they share half of the longer one's words


def exact_duplicates(texts: Sequence[str]) -> list[int]:
    """Number each text by the first that equals it but for case and white space.

    Args:
        texts: any number.

    Returns:
        Numbers of clusters, from 0, in order of first appearance.
    """
    numbers: dict[str, int] = {}
    return [numbers.setdefault(" ".join(text.casefold().split()), len(numbers)) for text in texts]


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """Number each text by the first leader that it is a near-duplicate of (NoveltyBench's rule of unigrams, 2025).

    The first text of a cluster leads it; a text that no leader resembles leads the next. So texts in another order
    may give other clusters. Near-duplicates have a ROUGE-1 F above 0.458 or, of up to five words, share at least half
    of the longer one's. Texts without a word, and such as are equal but for case and white space, go by equality.

    Args:
        texts: any number. Words are runs of letters and digits of any script; where a script writes none between
            blanks, a clause counts as a word.

    Returns:
        Numbers of clusters, from 0, in order of first appearance.
    """
    leaders: list[int] = []
    labels = []
    for place, alike in enumerate(_alike(texts)):
        label = next((number for number, leader in enumerate(leaders) if alike[leader]), len(leaders))
        leaders += [place] * (label == len(leaders))
        labels.append(label)
    return labels


def sizes(labels: Sequence[int]) -> list[int]:
    """Return how many texts each cluster has, in order of first appearance."""
    return list(Counter(labels).values())


def _alike(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which pairs are near-duplicates: bool [texts, texts], symmetric, the diagonal true."""
    worded = [re.findall(r"[^\W_]+", text.lower()) for text in texts]
    lengths = np.array([len(own) for own in worded], dtype=np.float64)
    overlap = inner_products([_numbered(own) for own in worded])
    shared = inner_products([set(own) for own in worded])
    longer = np.maximum.outer(lengths, lengths)
    by_rouge = 2 * overlap > NEAR * np.add.outer(lengths, lengths)
    by_half = 2 * shared >= longer
    near = np.where(longer > FEW_WORDS, by_rouge, by_half) & (np.minimum.outer(lengths, lengths) > 0)
    exact = np.array(exact_duplicates(texts))
    return np.asarray(near | (exact[:, None] == exact))


def _numbered(own: Sequence[str]) -> list[tuple[str, int]]:
    """Tell a word's first occurrence from its second, so that texts share each as often as both have it."""
    seen: Counter[str] = Counter()
    numbered = []
    for word in own:
        seen[word] += 1
        numbered.append((word, seen[word]))
    return numbered
