"""Bags: texts as sets of weighted terms, for `dan`: tokens of a model, and words."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from server.errors import InvalidRequestError
from server.finetuning.training.tokens import Given, Tokens
from server.finetuning.training.trainer import TOKEN

_FEWEST_TEXTS = 2  # with a term, for the term to be learned: what one text alone has, no other can use
_WORD = re.compile(r"\w+")
_HASHED = 1 << 62  # where the numbers of words begin; below are tokens


class Bags:
    """Lower-case texts as bags of the terms that several training texts have, with their TF-IDF; others are left out.

    A term is a token of the model, or a word. Words tell what the tokens of a rare word do not: that they stand
    together. A term that is in a text n times and in d of D training texts weighs
    (1 + ln n) · (1 + ln((1 + D) / (1 + d))); the squares of a text's weights sum to 1 (Salton and Buckley 1988).
    """

    def __init__(self, tokens: Tokens, vocabulary: np.ndarray, rarity: np.ndarray) -> None:
        """Prepare; see `of_training`.

        Args:
            tokens: gives the ids.
            vocabulary: the terms that count, int64, rising.
            rarity: of each, 1 + ln((1 + D) / (1 + d)), float32.
        """
        self._tokens, self._vocabulary, self._rarity = tokens, vocabulary, rarity
        self._words = bool(np.any(vocabulary >= _HASHED))
        self.row: tuple[int, ...] = (len(vocabulary),)

    @classmethod
    def of_training(cls, tokens: Tokens, texts: Given, *, words: bool = True) -> "Bags":
        """Learn the vocabulary of the training part.

        Args:
            tokens: gives the ids.
            texts: of the training part.
            words: whether they are terms.

        Raises:
            InvalidRequestError: no term is in two texts.
        """
        counts: Counter[int] = Counter()
        for terms in _terms(tokens, texts, words=words):
            counts.update(set(terms.tolist()))
        found = {term: count for term, count in counts.items() if count >= _FEWEST_TEXTS}
        if not found:
            raise InvalidRequestError(
                f"no token is in {_FEWEST_TEXTS} training texts, so nothing can be learned; give more texts",
                param="training_file",
            )
        vocabulary = sorted(found)
        rarity = 1 + np.log((1 + len(texts)) / (1 + np.array([found[term] for term in vocabulary])))
        return cls(tokens, np.array(vocabulary, np.int64), rarity.astype(np.float32))

    def encode(self, inputs: Given) -> list[np.ndarray]:
        """Return each text's known terms, `TOKEN` [different terms], ids being places; none may be known."""
        return [self._bag(terms) for terms in _terms(self._tokens, inputs, words=self._words)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the vocabulary and how rare its terms are."""
        return {"vocabulary": self._vocabulary, "rarity": self._rarity}

    def _bag(self, terms: np.ndarray) -> np.ndarray:
        different, counts = np.unique(terms, return_counts=True)
        places = np.searchsorted(self._vocabulary, different)
        known = places < len(self._vocabulary)
        known[known] = self._vocabulary[places[known]] == different[known]
        bag = np.zeros(int(known.sum()), TOKEN)
        bag["id"] = places[known]
        weights = (1 + np.log(counts[known])) * self._rarity[bag["id"]]
        bag["share"] = weights / max(float(np.linalg.norm(weights)), np.finfo(np.float32).tiny)
        return bag


def _terms(tokens: Tokens, texts: Given, *, words: bool) -> Iterator[np.ndarray]:
    """Yield the terms of each text, int64, each as often as it is there."""
    lower = [text.lower() for text in texts]
    for text, ids in zip(lower, tokens.encode(lower), strict=True):
        parts = [ids.astype(np.int64)]
        if words:
            named = [_named(word) for word in _WORD.findall(text)[: tokens.max_length]]
            parts.append(np.array(named, np.int64))
        yield np.concatenate(parts)


@lru_cache(maxsize=1 << 17)
def _named(word: str) -> int:
    """Return the number of a word, the same everywhere; that two share one is as likely as one in 10⁹ of 10⁵ words."""
    return _HASHED | int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 2
