"""Log-probabilities in OpenAI's two shapes: lists for texts, an object a token for conversations."""

import math
from collections import defaultdict
from typing import Any

from server.api.completion import Delta
from server.models.detokenizer import Detokenizer
from server.models.tokenizer import Tokenizer

IMPOSSIBLE = -9999.0  # what OpenAI writes for a probability of 0, whose logarithm JSON cannot hold


class TextLogprobs:
    """Log-probabilities of growing texts, by the names of their tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._texts: defaultdict[int, _Length] = defaultdict(lambda: _Length(tokenizer))

    def describe(self, index: int, delta: Delta) -> dict[str, Any]:
        """Describe a sample's next tokens.

        Args:
            index: of the sample, whose earlier tokens have been described.
            delta: with log-probabilities.
        """
        described: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token_id, token in zip(delta.token_ids, delta.logprobs, strict=True):
            name = self._name(token_id)
            top = {name: finite(token.logprob)}  # the drawn token is always among them
            for other, logprob in zip(token.top_ids, token.top_logprobs, strict=True):
                top.setdefault(self._name(other), finite(logprob))
            described["tokens"].append(name)
            described["token_logprobs"].append(finite(token.logprob))
            described["top_logprobs"].append(top)
            described["text_offset"].append(self._texts[index].before(token_id))
        return described

    def _name(self, token_id: int) -> str:
        """Name a token by its text, or by its bytes where it is no whole text: several would have the same name."""
        text = self._tokenizer.token_text(token_id)
        values = self._tokenizer.token_bytes(token_id)
        if values is None or text.encode("utf-8") == values:
            return text
        return "bytes:" + "".join(f"\\x{value:02x}" for value in values)


def describe_chat_logprobs(tokenizer: Tokenizer, delta: Delta) -> dict[str, Any]:
    """Describe a sample's tokens, or the next ones.

    Args:
        tokenizer: of the model.
        delta: with log-probabilities.
    """
    content = [
        _token(tokenizer, token_id, token.logprob)
        | {"top_logprobs": [_token(tokenizer, *pair) for pair in zip(token.top_ids, token.top_logprobs, strict=True)]}
        for token_id, token in zip(delta.token_ids, delta.logprobs, strict=True)
    ]
    return {"content": content, "refusal": None}


def finite(logprob: float) -> float:
    """Return a log-probability that JSON can hold."""
    return logprob if math.isfinite(logprob) else IMPOSSIBLE


def _token(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    values = tokenizer.token_bytes(token_id)
    return {
        "token": tokenizer.token_text(token_id),
        "logprob": finite(logprob),
        "bytes": None if values is None else list(values),
    }


class _Length:
    """The length of a growing text, in characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        self._length = 0

    def before(self, token_id: int) -> int:
        """Return the length before a token, and add it."""
        length = self._length
        self._length += len(self._detokenizer.push((token_id,)))
        return length
