"""Compile a step on CUDA in the background: the server answers in eager mode at once and changes over later."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

MOST_PROGRAMS = 64  # of one function in one process, whose models share it
_NICENESS = 10  # compiling gives way to requests

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Program:
    """A function and what to compile it for.

    Attributes:
        function: takes the arguments that `example` makes.
        example: makes arguments that the function may run on at any time, beside live requests; it marks the rows as a
            dynamic dimension. What is not an array is part of the program: one function may have several.
    """

    function: Function
    example: Callable[[], tuple[Any, ...]]


class Compilation:
    """The parts of a step, eager at first and compiled later, all at once.

    Rows are a dynamic dimension of two and more, so that a part is one program, but where one row has its own. The
    parts are compiled apart: what one does is compiled once, and not once more for every other thing that a step may
    do. Programs are kept on disk by Inductor's own cache, so that a restart loads them in seconds.

    Attributes:
        events: how often what came of compiling, by name of COMPILE_EVENTS.
    """

    def __init__(self, programs: Sequence[Program], *, cache_dir: Path, device: torch.device) -> None:
        """Start compiling.

        Args:
            programs: every one that steps will ask for.
            cache_dir: where compiled code is kept.
            device: where they run.
        """
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir / "inductor")  # Inductor has no other switch for it
        options: dict[str, Any] = {"size_asserts": False}  # checks of every array in every step: 500 of 30 layers
        # Only what `example` marks is dynamic: what another model has of other sizes is none of this one's business.
        self._compiled: dict[Function, Function] = {
            function: torch.compile(function, fullgraph=True, dynamic=False, options=options)
            for function in {program.function for program in programs}
        }
        self._programs = programs
        self.events: Counter[str] = Counter()
        self._ready = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="compile", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Say whether the compiled programs have taken over."""
        return self._ready

    @property
    def settled(self) -> bool:
        """Say whether the step will stay what it is: compiled, or eager because compiling failed."""
        return self._ready or not self._thread.is_alive()

    def run(self, function: Function, *arguments: Any) -> Any:
        """Call a function, compiled if it is ready.

        Arguments that no program fits are an error of ours, but no reason to fail requests or to have them wait for a
        compiler: everything runs eagerly then, and from then on.
        """
        if not self._ready:
            return function(*arguments)
        settings = torch._dynamo.config  # of this thread
        limit, settings.recompile_limit = settings.recompile_limit, 1
        try:
            return self._compiled[function](*arguments)
        except torch._dynamo.exc.FailOnRecompileLimitHit:
            self._ready = False
            self.events["abandoned"] += 1
            log.exception("a compiled program does not fit its arguments; from now on the step runs eagerly, slower")
            return function(*arguments)
        finally:
            settings.recompile_limit = limit

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the compiled programs have taken over, and say whether they have."""
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
            for program in self._programs:
                if self._closing:
                    return
                self._compile(program)
        except Exception:
            self.events["failed"] += 1
            log.exception("the decode step could not be compiled; it stays eager, which is slower but right")
            return
        self._ready = True
        count, seconds = len(self._programs), time.monotonic() - started_s
        log.info("the decode step is compiled, %d programs in %.1f s; it takes over now", count, seconds)

    def _compile(self, program: Program) -> None:
        with torch.no_grad():
            self._compiled[program.function](*program.example())
        self.events["compiled"] += 1


def _give_way() -> None:
    """Lower this thread's priority, and with it that of the compilers it starts."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
