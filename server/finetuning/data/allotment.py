"""Allotment: which part of a data set each row goes to.

Rows are drawn by their keys, which are hashes of what they hold under the seed: the same rows go to the same parts in
whatever order a file has them. Rows of one key, which hold the same, stay together, so that nothing that was learnt is
asked in a test.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

_GREATEST_SHARE_OF_PART = 4  # rows that hold the same may fill a quarter of a part, and no more


def keys_of(inputs: Sequence[str] | np.ndarray, seed: int) -> np.ndarray:
    """Hash what each row holds, uint64 [rows]; equal rows have equal keys.

    Args:
        inputs: texts, or float32 [rows, …]; 0 and -0 are the same.
        seed: changes all keys.
    """
    key = str(seed).encode()[:64]
    if isinstance(inputs, np.ndarray):
        contents = ((row + np.float32(0)).tobytes() for row in inputs)
    else:
        contents = (text.encode("utf-8") for text in inputs)
    digests = b"".join(blake2b(content, digest_size=8, key=key).digest() for content in contents)
    return np.frombuffer(digests, np.dtype("<u8")).astype(np.uint64)


def allot(labels: np.ndarray, keys: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Draw parts in which every class has the same share.

    A part has its share of all rows, rounded up or down, at least 1, and all parts together theirs; of each class it
    has its share as near as whole rows come. One row of each class, with those that hold the same, is in no part. Rows
    that hold the same count as of their commonest class; where there are more than two of them, and more than a
    quarter of the class's rows in a part, they are in none.

    Args:
        labels: int64 [rows], at least 1 row.
        keys: uint64 [rows].
        shares: of the parts, each in [0, 1), together below 1; 0 makes an empty part.

    Returns:
        Number of each row's part, from 0, and -1 for rows in none; int64 [rows].
    """
    _, groups, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    classes = _class_of_groups(groups, labels)
    totals = np.bincount(classes, sizes).astype(np.int64)
    wanted = _wanted(totals, shares)
    parts = np.full(len(sizes), -1)
    for place in np.flatnonzero(totals):
        own = np.flatnonzero(classes == place)
        parts[own] = _draw(sizes[own], wanted[place])
    return parts[groups]


def _class_of_groups(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the commonest label of each group, the least one where several tie."""
    span = int(labels.max()) + 1
    pairs, counts = np.unique(groups * span + labels, return_counts=True)
    best_first = np.lexsort((pairs, -counts, pairs // span))
    _, first = np.unique(pairs[best_first] // span, return_index=True)
    return pairs[best_first][first] % span


def _wanted(totals: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Round shares of classes to whole rows, int64 [classes, parts].

    The rows that rounding down leaves over go to the classes that lack most, counting what parts before gave them too
    much or too little, so that small classes are in some part.
    """
    free, given, sum_of_shares = np.maximum(totals - 1, 0), np.zeros_like(totals), 0.0
    wanted = np.zeros((len(totals), len(shares)), np.int64)
    for part, share in enumerate(shares):
        if share == 0:
            continue
        sum_of_shares += share
        lacking = np.clip(sum_of_shares * totals - given, 0, free - given)
        whole = np.floor(lacking + 1e-9).astype(np.int64)
        left = max(1, round(sum_of_shares * totals.sum()) - int(given.sum())) - int(whole.sum())
        for place in np.argsort(-(lacking - whole), kind="stable")[: max(left, 0)]:
            whole[place] += min(1, free[place] - given[place] - whole[place])
        wanted[:, part] = whole
        given += whole
    return wanted


def _draw(sizes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Give groups of one class, in the order of their keys, to the parts in turn, until each has its rows."""
    asked = wanted[wanted > 0]
    most = max(2, int(asked.min()) // _GREATEST_SHARE_OF_PART) if len(asked) else 0
    order = np.argsort(sizes > most, kind="stable")  # those too large come last
    middles = np.cumsum(sizes[order]) - sizes[order] / 2
    parts = np.searchsorted(np.cumsum(wanted), middles, side="left")
    parts[(parts == len(wanted)) | (sizes[order] > most)] = -1
    parts[-1] = -1  # one group of each class is left for training
    answer = np.empty_like(parts)
    answer[order] = parts
    return answer
