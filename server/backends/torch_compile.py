"""Compile the decode step in the background: the server answers in eager mode at once and changes over later."""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

VARIANTS = ((False, False), (False, True), (True, True))  # processes, truncates: what the rows of a step ask for
MOST_PROGRAMS = 16 * 2 * len(VARIANTS)  # in one process, whose models share the step's code: 16 models
_NICENESS = 10  # compiling gives way to requests


class Compilation:
    """A function, eager at first and compiled later.

    Rows are a dynamic dimension, so the whole set is six programs: one row or several, in each of three variants. They
    are kept on disk by Inductor's own cache, so that a restart loads them in seconds.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        example: Callable[[int, bool, bool], tuple[Any, ...]],
        *,
        cache_dir: Path,
        device: torch.device,
    ) -> None:
        """Start compiling.

        Args:
            step: takes the arguments that `example` makes.
            example: makes arguments, for a number of rows and the two flags of a variant, that the step may run on at
                any time, beside live requests; it marks the rows as a dynamic dimension.
            cache_dir: where compiled code is kept.
            device: where the step runs.
        """
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir / "inductor")  # Inductor has no other switch for it
        self._eager = step
        mode = "reduce-overhead" if device.type == "cuda" else None
        # Only what `example` marks is dynamic: what another model has of other sizes is none of this one's business.
        self._compiled = torch.compile(step, fullgraph=True, dynamic=False, mode=mode)
        self._example = example
        self._ready = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="compile", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Say whether the compiled step has taken over."""
        return self._ready

    @property
    def settled(self) -> bool:
        """Say whether the step will stay what it is: compiled, or eager because compiling failed."""
        return self._ready or not self._thread.is_alive()

    @property
    def step(self) -> Callable[..., Any]:
        """Return the function to call now."""
        return self._compiled if self._ready else self._eager

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the compiled step has taken over, and say whether it has."""
        self._thread.join(timeout_s)
        return self._ready

    def close(self, timeout_s: float = 1.0) -> None:
        """Stop compiling at the next opportunity."""
        self._closing = True
        self._thread.join(timeout_s)

    def _run(self) -> None:
        _give_way()
        torch._dynamo.config.recompile_limit = MOST_PROGRAMS  # a setting of this thread alone
        started_s = time.monotonic()
        try:
            for variant in VARIANTS:
                for rows in (2, 1):
                    if self._closing:
                        return
                    self._compile(rows, variant)
        except Exception:
            log.exception("the decode step could not be compiled; it stays eager, which is slower but right")
            return
        self._ready = True
        log.info("the decode step is compiled (%.1f s); it takes over now", time.monotonic() - started_s)

    def _compile(self, rows: int, variant: tuple[bool, bool]) -> None:
        with torch.no_grad():
            self._compiled(*self._example(rows, *variant))


def _give_way() -> None:
    """Lower this thread's priority, and with it that of the compilers it starts."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
