"""Units: what a completion is counted in, tokens where all arms share a tokenizer, and words where they do not."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from samplers.ngrams import words
from server.comparison.completion import Completion


@dataclass(frozen=True, slots=True)
class Units:
    """How to count the completions of an arm.

    Attributes:
        end_ids: end-of-sequence ids of the arm's model.
        decode: the shared tokenizer's, from ids to text; None counts words of the text in place of tokens, the only
            unit that texts of different tokenizers have in common.
    """

    end_ids: frozenset[int]
    decode: Callable[[Sequence[int]], str] | None = None

    def of(self, completion: Completion) -> tuple[Hashable, ...]:
        """Return a completion's units, in order; the end-of-sequence token is none of them."""
        if self.decode is None:
            return tuple(words(completion.text))
        return completion.token_ids[:-1] if self.ended(completion) else completion.token_ids

    def text(self, units: Sequence[Any]) -> str:
        """Return units, such as the first few of a completion, as text."""
        return " ".join(units) if self.decode is None else self.decode(units)

    def ended(self, completion: Completion) -> bool:
        """Say whether an end-of-sequence token ended the completion; one that the arm ignores does not."""
        return completion.finish_reason == "stop" and bool(self.end_ids.intersection(completion.token_ids[-1:]))
