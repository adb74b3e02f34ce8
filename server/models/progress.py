"""Progress: how the long steps of this room say where they are."""

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, 0 to 1; always on the caller's thread."""


def report_nothing(what: str, fraction: float) -> None:
    """Ignore a report of progress; stands in where the caller gave no callback."""
