"""Pace: how fast the queue has moved of late, and so when there will be room in it."""

import math

WINDOW_S = 15.0
LONGEST_S = 120  # clients that try again by themselves wait no longer than this


class Pace:
    """What leaves the queue, by the second, each departure counting for less the longer ago it was.

    The engine's thread writes, any thread may read: what is written is one tuple.
    """

    def __init__(self, now_s: float) -> None:
        """Begin without a departure.

        Args:
            now_s: clock reading.
        """
        self._started_s = now_s
        self._left = (now_s, 0.0, 0.0)

    def left(self, now_s: float, samples: int, tokens: int) -> None:
        """Note that so many samples, of so many tokens together, have left the queue."""
        at_s, num_samples, num_tokens = self._left
        fading = math.exp((at_s - now_s) / WINDOW_S)
        self._left = now_s, num_samples * fading + samples, num_tokens * fading + tokens

    def seconds_until(self, now_s: float, samples: int, tokens: int) -> int:
        """Estimate when so much will have left the queue, if it goes on as it has.

        Args:
            now_s: clock reading.
            samples: at least 0.
            tokens: at least 0.

        Returns:
            Whole seconds, rounded up, 1 to 120; `WINDOW_S` where nothing has left yet.
        """
        at_s, num_samples, num_tokens = self._left
        if not num_samples:
            return math.ceil(WINDOW_S)
        fading = math.exp((at_s - now_s) / WINDOW_S)
        window_s = WINDOW_S * -math.expm1((self._started_s - now_s) / WINDOW_S)  # shorter for one that has just begun
        wanted = max(samples / num_samples, tokens / num_tokens) * max(window_s, 1e-3)
        return min(max(1, math.ceil(min(wanted / max(fading, 1e-9), LONGEST_S))), LONGEST_S)
