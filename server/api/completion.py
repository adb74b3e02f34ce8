"""Completion: the text of one sample while it grows, cut before its stop text."""

from collections.abc import Sequence
from dataclasses import dataclass

from samplers.logprobs import TokenLogprobs
from samplers.measures import TokenMeasures
from server.engine.stream import TokenEvent
from server.models.detokenizer import Detokenizer
from server.models.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step added to a sample; the texts of all, joined, are the sample's text.

    Attributes:
        text: whole characters, none of which can still become part of a stop text.
        token_ids: drawn tokens; their text may come later, or in part, or never.
        logprobs: one entry a token, or empty where none were asked for.
        finish_reason: set on the last one.
        measures: one entry a token, likewise.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...]
    finish_reason: str | None
    measures: tuple[TokenMeasures, ...] = ()


@dataclass(frozen=True, slots=True)
class Stopping:
    """How the samples of a request end, beside their token ids.

    Attributes:
        texts: stop texts, none empty.
        min_tokens: a stop text counts only if a later token than this many completed it.
        include_stop: whether the text keeps what ended it.
    """

    texts: tuple[str, ...] = ()
    min_tokens: int = 0
    include_stop: bool = False


class Completion:
    """Turns a sample's events into deltas.

    Attributes:
        finish_reason: None while the sample grows.
        num_tokens: tokens in the deltas so far.
    """

    def __init__(self, tokenizer: Tokenizer, stopping: Stopping) -> None:
        """Begin an empty text.

        Args:
            tokenizer: the model's.
            stopping: how the sample ends.
        """
        self.finish_reason: str | None = None
        self.num_tokens = 0
        self._tokenizer = tokenizer
        self._stopping = stopping
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = StopTexts(stopping.texts, include_stop=stopping.include_stop)

    def take(self, event: TokenEvent) -> Delta | None:
        """Add what a step drew; None after the sample has ended, where the engine was a step ahead.

        Args:
            event: the sample's next; a stop text may end the sample before the event's last token.
        """
        if self.finish_reason is not None:
            return None
        stop_token = event.token_ids[-1] if event.finish_reason == "stop" else None
        text, count = "", 0
        for token_id in event.token_ids:
            self.num_tokens += 1
            count += 1
            if token_id != stop_token or self._stopping.include_stop:
                text += self._search(self._detokenizer.push((token_id,)))
            if self._stops.found:
                break
        if event.finish_reason is not None and not self._stops.found:
            text += self._search(self._detokenizer.flush()) + self._stops.flush() + self._name(stop_token)
        self.finish_reason = "stop" if self._stops.found else event.finish_reason
        return Delta(text, event.token_ids[:count], event.logprobs[:count], self.finish_reason, event.measures[:count])

    def _search(self, piece: str) -> str:
        return self._stops.push(piece, armed=self.num_tokens > self._stopping.min_tokens)

    def _name(self, stop_token: int | None) -> str:
        """Return the name of a special token that ended the sample, where it is to be kept: it has no text."""
        if stop_token is None or not self._stopping.include_stop or self._tokenizer.has_text(stop_token):
            return ""
        return self._tokenizer.token_text(stop_token)


class StopTexts:
    """Finds the first stop text in a growing text, and holds back what may be the beginning of one.

    The first one is the one that is complete first, and the longest of those complete at the same character: so it
    does not matter how the text is split.

    Attributes:
        found: whether a stop text was found; nothing may be pushed after it.
    """

    def __init__(self, texts: Sequence[str], *, include_stop: bool = False) -> None:
        """Watch for stop texts.

        Args:
            texts: none empty; without any, everything passes as it comes.
            include_stop: keep the stop text, so that nothing needs to be held back.
        """
        self.found = False
        self._texts = tuple(texts)
        self._include_stop = include_stop
        self._begun = ""  # the longest end of the text that begins a stop text
        self._num_shown = 0  # characters of it that were returned

    def push(self, piece: str, *, armed: bool = True) -> str:
        """Add to the text and return what is now certain to be shown.

        Args:
            piece: any length; the text may be split anywhere.
            armed: whether a stop text that this piece completes counts.
        """
        if not self._texts:
            return piece
        text = self._begun + piece
        ends = list(self._ends(text)) if armed else []
        if ends:
            self.found = True
            end, start = min(ends)
            return text[self._num_shown : end if self._include_stop else start]
        begun = self._longest_beginning(text)
        certain = len(text) if self._include_stop else len(text) - len(begun)
        shown = text[self._num_shown : certain]
        self._begun = begun
        self._num_shown = len(begun) if self._include_stop else 0
        return shown

    def flush(self) -> str:
        """Return what was held back; the text is over."""
        rest, self._begun, self._num_shown = self._begun[self._num_shown :], "", 0
        return rest

    def _ends(self, text: str) -> list[tuple[int, int]]:
        """List (end, start) of each stop text that the last piece completed, its first occurrence alone."""
        searches = ((stop, text.find(stop, max(0, len(self._begun) + 1 - len(stop)))) for stop in self._texts)
        return [(start + len(stop), start) for stop, start in searches if start >= 0]

    def _longest_beginning(self, text: str) -> str:
        longest = max(map(len, self._texts)) - 1
        ends = (text[-length:] for length in range(min(longest, len(text)), 0, -1))
        return next((end for end in ends if any(stop.startswith(end) and stop != end for stop in self._texts)), "")
