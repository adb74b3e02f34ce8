"""n-grams: what metrics of diversity count. A sequence is one text, as token ids or as words."""

import re
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Gram = tuple[Hashable, ...]
_AT_ONCE = 4096  # distinct items whose counts are held as a matrix


def words(text: str) -> list[str]:
    """Split a text into lower-case words and single marks of punctuation, a unit that any two models share.

    Args:
        text: any; of blanks alone, it has none.
    """
    return re.findall(r"\w+|[^\w\s]", text.lower())


def ngrams(sequence: Sequence[Hashable], n: int) -> list[Gram]:
    """List a sequence's n-grams, in order; one that is shorter has none.

    Args:
        sequence: tokens or words, any number.
        n: length, ≥ 1.
    """
    return list(zip(*(sequence[start:] for start in range(n)), strict=False))


def distinct(sequences: Iterable[Sequence[Hashable]], n: int) -> float | None:
    """Return distinct-n, the share of different n-grams among all, pooled over texts (Li et al. 2016).

    Falls with the number of texts and with their length, so compare it at equal number and length alone.

    Args:
        sequences: of one prompt; n-grams do not cross from one to the next.
        n: length, ≥ 1.

    Returns:
        In (0, 1]; None where no sequence has n tokens.
    """
    grams = [gram for sequence in sequences for gram in ngrams(sequence, n)]
    return len(set(grams)) / len(grams) if grams else None


def inner_products(bags: Sequence[Iterable[Hashable]]) -> Floats:
    """Return the inner products of the bags' counts, Σ over items of count in one x count in the other.

    Args:
        bags: items that may repeat; for bags without repetition, the product is the number that two share.

    Returns:
        float64 [bags, bags], whole numbers; an empty bag has 0 throughout.
    """
    numbers: dict[Hashable, int] = {}
    listed = [[numbers.setdefault(item, len(numbers)) for item in bag] for bag in bags]
    owners = np.repeat(np.arange(len(bags)), [len(items) for items in listed])
    items = np.concatenate([np.array(each, np.int64) for each in listed]) if listed else np.empty(0, np.int64)
    products = np.zeros((len(bags), len(bags)))
    for start in range(0, len(numbers), _AT_ONCE):
        width = min(_AT_ONCE, len(numbers) - start)
        here = (items >= start) & (items < start + width)
        cells = owners[here] * width + (items[here] - start)
        counts = np.bincount(cells, minlength=len(bags) * width).reshape(len(bags), width).astype(np.float64)
        products += counts @ counts.T
    return products
