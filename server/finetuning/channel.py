"""Channel: what training says while it works, and how it learns that it should stop."""

from typing import Any, Literal, Protocol

Level = Literal["info", "warn", "error"]


class Stopped(BaseException):
    """Training was asked to stop, and has kept a checkpoint; no Exception, so that nothing on the way holds it up."""


class Channel(Protocol):
    """Where training reports to: the worker's standard output, a terminal, or a list in a test."""

    def progress(self, fraction: float, *, epoch: int, step: int, eta_s: float | None) -> None:
        """Say how far training is.

        Args:
            fraction: done, in [0, 1].
            epoch: in which it is, from 0.
            step: optimiser steps taken, in all.
            eta_s: seconds left; None: unknown.
        """

    def event(self, type: str, message: str, *, level: Level = "info", data: dict[str, Any] | None = None) -> None:
        """Say what happened; `metrics` has its figures in data, `diagnosis` its evidence."""

    @property
    def should_stop(self) -> bool:
        """Whether to keep a checkpoint and raise Stopped at the next step."""
