"""Budget: how much of prompts is read between two decode steps, so that nobody's tokens stop while others' are read."""

import statistics
from collections import deque
from collections.abc import Iterable

from server.backends.base import PromptPiece
from server.engine.request import Sample

STRETCH = 2.5  # a step and the prefill before it, by the step alone, where as many wait as decode, or fewer
_REMEMBERED = 5  # of steps and of prefills, whose median no single hiccup moves


class Budget:
    """Learns from what prefills and steps have taken of late how many prompt tokens fit between two steps.

    Where nobody decodes, nobody is held up, and a prefill takes what the backend takes at most. A backend whose calls
    return before their work is done seems to need no time for it, and is given as much as it takes too.
    """

    def __init__(self, least: int, most: int) -> None:
        """Begin knowing nothing.

        Args:
            least: tokens of the smallest prefill, of which all others but the largest are multiples.
            most: tokens of the largest.
        """
        self._least, self._most = min(least, most), most
        self._step_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._token_s: deque[float] = deque(maxlen=_REMEMBERED)

    def prefilled(self, tokens: int, seconds: float) -> None:
        """Note what a prefill took; one of fewer tokens than the smallest costs as much as that."""
        self._token_s.append(seconds / max(tokens, self._least))

    def stepped(self, seconds: float) -> None:
        """Note what a decode step took."""
        self._step_s.append(seconds)

    def tokens(self, decoding: int, prefilling: int) -> int:
        """Return how many tokens of prompts to read now.

        Where more prompts wait than samples decode, they get as much more of the time: steps of few rows are dear.

        Args:
            decoding: samples whose step waits for it.
            prefilling: prompts that wait to be read.
        """
        if not decoding:
            return self._most
        if not self._step_s or not self._token_s:
            return self._least
        allowed_s = (STRETCH - 1) * statistics.median(self._step_s) * max(1.0, prefilling / decoding)
        token_s = statistics.median(self._token_s)
        if token_s * self._most <= allowed_s:
            return self._most
        return max(self._least, int(allowed_s / token_s) // self._least * self._least)


def next_chunk(samples: Iterable[Sample], tokens: int) -> list[tuple[Sample, PromptPiece]]:
    """Take the next pieces of prompts, the first ones first, until so many tokens are reached.

    Args:
        samples: whose prompts are to be read, each in a slot.
        tokens: at least 1.
    """
    chunk: list[tuple[Sample, PromptPiece]] = []
    for sample in samples:
        if not tokens:
            break
        assert sample.slot is not None
        end = min(sample.num_prefilled + tokens, sample.request.prompt.num_prefill)
        token_ids = sample.request.prompt.token_ids[sample.num_prefilled : end]
        chunk.append((sample, PromptPiece(sample.slot, token_ids, sample.num_prefilled)))
        tokens -= len(token_ids)
    return chunk
