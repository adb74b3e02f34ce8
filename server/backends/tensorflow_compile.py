"""Compile programs in the background: the server answers without at once, and changes over program by program."""

import ctypes
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

log = logging.getLogger(__name__)

_NICENESS = 10  # compiling gives way to requests


class Compilation:
    """Programs of fixed shapes, of which some are ready already.

    Attributes:
        events: how often what came of compiling, by name of COMPILE_EVENTS.
    """

    def __init__(self, trials: Mapping[str | int, Callable[[], Any]]) -> None:
        """Start compiling.

        Args:
            trials: the name of each program, and what has XLA compile it in a trial run, and returns it; in the order
                wanted. It may run at any time, beside live requests.
        """
        self._trials = trials
        self.events: Counter[str] = Counter()
        self._ready: dict[str | int, Any] = {}
        self._closing = False
        # No daemon: a process that ended while XLA compiles would take LLVM's tables away from under it.
        self._thread = threading.Thread(target=self._run, name="compile", daemon=False)
        self._thread.start()

    @property
    def share(self) -> float:
        """Return the share of the programs that are compiled, 0 to 1."""
        return len(self._ready) / len(self._trials) if self._trials else 1.0

    @property
    def failed(self) -> bool:
        """Say whether a program could not be compiled, after which none are."""
        return self.events["failed"] > 0

    def program(self, name: str | int) -> Any:
        """Return a program, or None while it is not compiled."""
        return self._ready.get(name)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until every program is compiled, and say whether they are."""
        self._thread.join(timeout_s)
        return len(self._ready) == len(self._trials)

    def close(self) -> None:
        """Stop compiling, once the program under way is compiled, and let go of all."""
        self._closing = True
        self._thread.join()
        self._ready.clear()

    def _run(self) -> None:
        _give_way()
        started_s = time.monotonic()
        try:
            for name, trial in self._trials.items():
                if self._closing or not threading.main_thread().is_alive():
                    return
                self._ready[name] = trial()
                self.events["compiled"] += 1
                _give_back()
        except Exception:
            self.events["failed"] += 1
            log.exception("a program could not be compiled; what is left goes without, which is slower but right")
            return
        log.info("%d programs are compiled (%.1f s)", len(self._trials), time.monotonic() - started_s)


def graph(function: Callable[..., Any], *signature: tf.TensorSpec) -> Any:
    """Trace a function when it is first called, once for all shapes of its arguments."""
    return tf.function(function, input_signature=signature, autograph=False)


def program(traced: Callable[..., Any], *example: Any) -> Any:
    """Have XLA compile a graph for arguments like these, and run it once on them.

    Each program is a function of its own. One for all would be traced anew at every shape, which TensorFlow takes for a
    mistake and warns of.
    """
    signature = [tf.TensorSpec(argument.shape, argument.dtype) for argument in example]
    compiled = tf.function(lambda *inputs: traced(*inputs), jit_compile=True, autograph=False)
    concrete = compiled.get_concrete_function(*signature)
    concrete(*example)
    return concrete


def _give_way() -> None:
    """Lower this thread's priority, and with it that of the threads it starts."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _give_back() -> None:
    """Return what compiling has left free to the system, which glibc would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
