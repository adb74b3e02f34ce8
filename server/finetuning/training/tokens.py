"""Tokens: texts as the token ids of a model."""

from collections.abc import Sequence

import numpy as np

from server.models.tokenizer import Tokenizer

Given = Sequence[str] | np.ndarray


class Tokens:
    """Texts as the token ids of a model, for methods that train the model itself.

    Attributes:
        max_length: tokens of a text that are read, ≥ 1.
        row: the size of the vocabulary.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        """Prepare.

        Args:
            tokenizer: of the model.
            max_length: tokens of a text that are read, ≥ 1.
        """
        self._tokenizer, self.max_length = tokenizer, max_length
        self.row: tuple[int, ...] = (tokenizer.vocab_size,)

    def encode(self, inputs: Given) -> list[np.ndarray]:
        """Return the first ids of each text, int32 [tokens]."""
        return [np.array(self._tokenizer.encode(text)[: self.max_length], np.int32) for text in inputs]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return nothing: the tokenizer is the model's."""
        return {}
