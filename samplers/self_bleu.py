"""Self-BLEU: how well each text could pass for a translation of the others (Zhu et al. 2018, Texygen)."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from samplers.ngrams import Gram, ngrams

EPSILON = 0.1  # stands for a count of 0, as in NLTK's method 1 (Chen and Cherry 2014)


class _Most(NamedTuple):
    """How often an n-gram occurs in the text that has it most, which text that is, and how often in the next."""

    most: int
    owner: int
    next_most: int


def self_bleu(sequences: Sequence[Sequence[Hashable]], order: int = 4) -> float | None:
    """Return the mean BLEU of each text against all others; lower where texts are more diverse.

    Equal to NLTK's `sentence_bleu` with uniform weights and method 1, in time linear in the number of tokens: the
    count that clips a text's n-gram is the greatest of any text or, if that is its own, the next. It rises with the
    number of texts, and equal texts shorter than `order` do not reach 1.

    Args:
        sequences: tokens or words of each text.
        order: greatest length of n-grams, ≥ 1.

    Returns:
        In [0, 1]; None for fewer than two texts.
    """
    scores = bleus(sequences, order)
    return sum(scores) / len(scores) if len(scores) > 1 else None


def bleus(sequences: Sequence[Sequence[Hashable]], order: int = 4) -> list[float]:
    """Return the BLEU of each text against all others; 0 where it shares no token with any.

    Args:
        sequences: tokens or words of each text.
        order: greatest length of n-grams, ≥ 1.
    """
    precisions = [_precisions(sequences, n) for n in range(1, order + 1)]
    lengths = Counter(len(sequence) for sequence in sequences)
    return [
        _penalty(len(sequence), lengths) * math.exp(math.fsum(map(math.log, own)) / order) if own[0] else 0.0
        for sequence, own in zip(sequences, zip(*precisions, strict=True), strict=True)
    ]


def _precisions(sequences: Sequence[Sequence[Hashable]], n: int) -> list[float]:
    """Return each text's share of n-grams that others have as often; only at n = 1 may it be 0."""
    counted = [Counter(ngrams(sequence, n)) for sequence in sequences]
    most = _most(counted)
    shares = []
    for place, counts in enumerate(counted):
        clipped = sum(min(count, _elsewhere(most[gram], place)) for gram, count in counts.items())
        shares.append((clipped or EPSILON * (n > 1)) / max(1, counts.total()))
    return shares


def _most(counted: Sequence[Counter[Gram]]) -> dict[Gram, _Most]:
    found: dict[Gram, _Most] = {}
    for place, counts in enumerate(counted):
        for gram, count in counts.items():
            most = found.get(gram, _Most(0, place, 0))
            if count > most.most:
                found[gram] = _Most(count, place, most.most)
            elif count > most.next_most:
                found[gram] = most._replace(next_most=count)
    return found


def _elsewhere(most: _Most, place: int) -> int:
    return most.next_most if most.owner == place else most.most


def _penalty(length: int, lengths: Counter[int]) -> float:
    """Return the brevity penalty against the other text of nearest length, the shorter of two as near."""
    others = [other for other, count in lengths.items() if count > (other == length)]
    nearest = min(others, key=lambda other: (abs(other - length), other), default=length)
    return 1.0 if length >= nearest else math.exp(1 - nearest / length)
