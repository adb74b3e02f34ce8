"""Encoders: texts or numeric rows as the network of a method takes them; what they learn of the training part stays."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from server.errors import InvalidRequestError
from server.finetuning.plan import TEXT_METHODS
from server.finetuning.training.trainer import TOKEN, Inputs
from server.models.tokenizer import Tokenizer

Given = Sequence[str] | np.ndarray
Embed = Callable[[Sequence[str]], np.ndarray]

_FEWEST_TEXTS = 2  # with a token, for the token to be learned: what one text alone has, no other can use


class Encoder(Protocol):
    """What turns inputs into a network's.

    Attributes:
        row: shape of a row; for token ids the size of the vocabulary.
    """

    row: tuple[int, ...]

    def encode(self, inputs: Given) -> Inputs:
        """Turn inputs into rows, in their order."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what was learned of the training part, for `load`."""


class Tokens:
    """Texts as the token ids of a model, for methods that train the model itself."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        """Prepare.

        Args:
            tokenizer: of the model.
            max_length: tokens of a text that are read, ≥ 1.
        """
        self._tokenizer, self._max_length = tokenizer, max_length
        self.row: tuple[int, ...] = (tokenizer.vocab_size,)

    def encode(self, inputs: Given) -> list[np.ndarray]:
        """Return the first ids of each text, int32 [tokens]."""
        return [np.array(self._tokenizer.encode(text)[: self._max_length], np.int32) for text in inputs]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return nothing: the tokenizer is the model's."""
        return {}


class Bags:
    """Lower-case texts as bags of the tokens that several training texts have, with their TF-IDF; others are left out.

    A token that is in a text n times and in d of D training texts weighs (1 + ln n) · (1 + ln((1 + D) / (1 + d))); the
    squares of a text's weights sum to 1 (Salton and Buckley 1988).
    """

    def __init__(self, tokens: Tokens, vocabulary: np.ndarray, rarity: np.ndarray) -> None:
        """Prepare; see `of_training`.

        Args:
            tokens: gives the ids.
            vocabulary: the ids that count, int32, rising.
            rarity: of each, 1 + ln((1 + D) / (1 + d)), float32.
        """
        self._tokens, self._vocabulary, self._rarity = tokens, vocabulary, rarity
        self.row: tuple[int, ...] = (len(vocabulary),)

    @classmethod
    def of_training(cls, tokens: Tokens, texts: Given) -> "Bags":
        """Learn the vocabulary of the training part.

        Raises:
            InvalidRequestError: no token is in two texts.
        """
        counts = Counter(token for ids in tokens.encode(_lower(texts)) for token in set(ids.tolist()))
        vocabulary = sorted(token for token, count in counts.items() if count >= _FEWEST_TEXTS)
        if not vocabulary:
            raise InvalidRequestError(
                f"no token is in {_FEWEST_TEXTS} training texts, so nothing can be learned; give more texts",
                param="training_file",
            )
        found_in = np.array([counts[token] for token in vocabulary])
        rarity = 1 + np.log((1 + len(texts)) / (1 + found_in))
        return cls(tokens, np.array(vocabulary, np.int32), rarity.astype(np.float32))

    def encode(self, inputs: Given) -> list[np.ndarray]:
        """Return each text's known tokens, `TOKEN` [different tokens], ids being places; none may be known."""
        return [self._bag(ids) for ids in self._tokens.encode(_lower(inputs))]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the vocabulary and how rare its tokens are."""
        return {"vocabulary": self._vocabulary, "rarity": self._rarity}

    def _bag(self, ids: np.ndarray) -> np.ndarray:
        different, counts = np.unique(ids, return_counts=True)
        places = np.searchsorted(self._vocabulary, different)
        known = places < len(self._vocabulary)
        known[known] = self._vocabulary[places[known]] == different[known]
        bag = np.zeros(int(known.sum()), TOKEN)
        bag["id"] = places[known]
        weights = (1 + np.log(counts[known])) * self._rarity[bag["id"]]
        bag["share"] = weights / max(float(np.linalg.norm(weights)), np.finfo(np.float32).tiny)
        return bag


class Scaled:
    """Numeric rows, each feature with mean 0 and standard deviation 1 over the training part; an image as a whole."""

    def __init__(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Prepare; see `of_training`.

        Args:
            mean: of a row, float32 of its shape.
            deviation: likewise, > 0.
        """
        self._mean, self._deviation = mean, deviation
        self.row: tuple[int, ...] = mean.shape

    @classmethod
    def of_training(cls, rows: np.ndarray, *, together: bool) -> "Scaled":
        """Learn means and deviations of the training part.

        Args:
            rows: float32 [rows, …].
            together: whether all features share one of each, as the pixels of an image do; a feature that never
                changes becomes 0.
        """
        values = np.asarray(rows, np.float64)
        axes = None if together else 0
        mean, deviation = values.mean(axis=axes), values.std(axis=axes)
        deviation = np.where(deviation > 0, deviation, 1.0)
        shape = values.shape[1:]
        return cls(*(np.broadcast_to(part, shape).astype(np.float32) for part in (mean, deviation)))

    def encode(self, inputs: Given) -> np.ndarray:
        """Return the rows scaled, float32 [rows, …].

        Raises:
            InvalidRequestError: they have another shape, or are no finite numbers.
        """
        try:
            rows = np.asarray(inputs, np.float32)
        except (TypeError, ValueError):
            rows = np.zeros(0, np.float32)
        if rows.shape[1:] != self.row:
            shape = " x ".join(map(str, self.row))
            raise InvalidRequestError(f"input must be rows of {shape} numbers", param="input")
        if not np.isfinite(rows).all():
            raise InvalidRequestError("input holds a number that is not finite", param="input")
        return (rows - self._mean) / self._deviation

    def arrays(self) -> dict[str, np.ndarray]:
        """Return means and deviations."""
        return {"mean": self._mean, "deviation": self._deviation}


class Pooled:
    """Texts as a model's pooled hidden states, scaled feature by feature."""

    def __init__(self, embed: Embed, scaled: Scaled) -> None:
        """Prepare.

        Args:
            embed: returns the states of texts, float32 [texts, width].
            scaled: of states.
        """
        self._embed, self._scaled = embed, scaled
        self.row = scaled.row

    @classmethod
    def of_training(cls, embed: Embed, texts: Given) -> "Pooled":
        """Learn means and deviations of the training part."""
        return cls(embed, Scaled.of_training(embed(list(texts)), together=False))

    def encode(self, inputs: Given) -> np.ndarray:
        """Return the scaled states, float32 [texts, width]."""
        return self._scaled.encode(self._embed(list(inputs)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return means and deviations."""
        return self._scaled.arrays()


def _lower(texts: Given) -> list[str]:
    return [text.lower() for text in texts]


def encoder_for(method: str, train: Given, tokens: Tokens | None, embed: Embed | None) -> Encoder:
    """Make the encoder of a method, from the training part.

    Args:
        method: of the plan.
        train: inputs of the training part.
        tokens: of the model, for methods that take texts.
        embed: for `linear_probe`.

    Raises:
        InvalidRequestError: the inputs are not what the method takes.
    """
    require_kind(method, train)
    if method not in TEXT_METHODS:
        return Scaled.of_training(np.asarray(train), together=method == "cnn")
    if method == "linear_probe":
        assert embed is not None
        return Pooled.of_training(embed, train)
    assert tokens is not None
    return Bags.of_training(tokens, train) if method == "dan" else tokens


def load_encoder(method: str, arrays: Mapping[str, np.ndarray], tokens: Tokens | None, embed: Embed | None) -> Encoder:
    """Make the encoder of a classifier again, from what `arrays` returned; see `encoder_for`."""
    if method not in TEXT_METHODS:
        return Scaled(arrays["mean"], arrays["deviation"])
    if method == "linear_probe":
        assert embed is not None
        return Pooled(embed, Scaled(arrays["mean"], arrays["deviation"]))
    assert tokens is not None
    return Bags(tokens, arrays["vocabulary"], arrays["rarity"]) if method == "dan" else tokens


def require_kind(method: str, inputs: Given) -> None:
    """Refuse texts for a method that takes numeric rows, and the other way round."""
    texts = not isinstance(inputs, np.ndarray)
    if texts != (method in TEXT_METHODS):
        wanted, found = ("texts", "numeric rows") if not texts else ("numeric rows", "texts")
        raise InvalidRequestError(
            f"{method} takes {wanted}, not {found}; choose another method_name", param="method_name"
        )
