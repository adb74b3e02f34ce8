"""Encoders: texts or numeric rows as the network of a method takes them; what they learn of the training part stays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from server.errors import InvalidRequestError
from server.finetuning.plan import TEXT_METHODS
from server.finetuning.training.bags import Bags
from server.finetuning.training.tokens import Given, Tokens
from server.finetuning.training.trainer import Inputs

Embed = Callable[[Sequence[str]], np.ndarray]


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
