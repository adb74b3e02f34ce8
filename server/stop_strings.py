"""StopStrings: where a growing text ends, and what of it can be shown before that is known."""

from collections.abc import Sequence


class StopStrings:
    """Cuts a text before the first stop string, however the text is split into pieces.

    The first stop string is the one that is complete first; of two complete at the same character, the longer one.

    Attributes:
        stopped: whether a stop string was found; then no more text comes out.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Watch for stop strings.

        Args:
            stops: none empty; without any, text passes as it comes.
        """
        self.stopped = False
        self._stops = tuple(stops)
        self._held = ""

    def push(self, piece: str) -> str:
        """Take the next piece of text and return what can no longer become part of a stop string."""
        if self.stopped:
            return ""
        text = self._held + piece
        ends = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            self._held = ""
            return text[: min(ends)[1]]
        shown = len(text) - self._num_held(text)
        self._held = text[shown:]
        return text[:shown]

    def flush(self) -> str:
        """Return the text that was held back; nothing more comes."""
        rest, self._held = self._held, ""
        return rest

    def _num_held(self, text: str) -> int:
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        lengths = range(min(longest, len(text)), 0, -1)
        return next((n for n in lengths if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
