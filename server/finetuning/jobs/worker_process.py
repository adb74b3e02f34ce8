"""WorkerProcess: a worker as its server sees it: started, listened to, asked to stop, and ended whatever happens."""

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from server.errors import KelvinError
from server.finetuning.jobs.worker_lines import STOP, Line, Order

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "server.finetuning.jobs.worker")
LOG_NAME = "worker.log"
STDERR_TAIL_BYTES = 4000
MAX_LOG_BYTES = 1 << 20


class WorkerError(KelvinError):
    """The worker's process ended before its work was done."""

    code = "worker_died"


class RefusedError(KelvinError):
    """The worker says why the work cannot be done; code and param are its own."""

    def __init__(self, message: str, *, code: str, param: str | None) -> None:
        super().__init__(message, param=param)
        self.code = code


def threads_of(worker_threads: int, at_once: int = 1) -> int:
    """Return the CPU threads of a worker.

    Args:
        worker_threads: the setting; 0: half of the cores, so that the server keeps the others.
        at_once: workers that share that half, ≥ 1.
    """
    return worker_threads or max(1, len(os.sched_getaffinity(0)) // 2 // at_once)


@dataclass(frozen=True, slots=True)
class Workers:
    """How workers are started.

    Attributes:
        threads: CPU threads of each.
        command: that a worker's arguments are added to.
    """

    threads: int
    command: tuple[str, ...] = COMMAND

    def start(self, order: Order, folder: Path) -> "WorkerProcess":
        """Start a worker.

        Args:
            order: what it is to do.
            folder: that it works in; its standard error is kept there.
        """
        return WorkerProcess(
            [*self.command, str(folder), str(self.threads), str(os.getpid())], order, folder / LOG_NAME
        )


class WorkerProcess:
    """A running worker; a context, whose end is the worker's."""

    def __init__(self, command: list[str], order: Order, log_path: Path) -> None:
        """Start it.

        Args:
            command: and its arguments; run by `exec`, so that it shares no lock with this process.
            order: its first line of input.
            log_path: file of its standard error, which is added to.
        """
        self._log_path = log_path
        small = log_path.exists() and log_path.stat().st_size < MAX_LOG_BYTES
        with log_path.open("ab" if small else "wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
            )
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._say(order.model_dump_json())
        # A daemon: it ends with the pipe, and must not keep a server from ending.
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def next_line(self, timeout_s: float) -> Line | None:
        """Return what the worker says next; None: nothing within the time.

        Raises:
            WorkerError: it has ended without a last line.
        """
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if line is None:
            raise self._death()
        return line

    def stop(self, grace_s: float) -> None:
        """Ask it to keep a checkpoint and end; kill it if it takes too long.

        Args:
            grace_s: seconds that it has for that.
        """
        self._say(STOP)
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            log.warning("worker %d did not stop within %g s and is killed", self.pid, grace_s)
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        with suppress(BrokenPipeError):  # it died before it read everything
            self._process.stdin.close()  # type: ignore[union-attr]

    def _say(self, line: str) -> None:
        try:
            self._process.stdin.write(line + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            log.debug("worker %d has ended already", self.pid)  # `next_line` says how

    def _read(self, output: IO[str]) -> None:
        with output:
            try:
                for text in output:
                    self._lines.put(Line.model_validate_json(text))
            except ValueError as error:  # a line that was cut in the middle, for one
                log.warning("worker %d says what cannot be read: %s", self.pid, type(error).__name__)
        self._lines.put(None)

    def _death(self) -> WorkerError:
        deadline_s = time.monotonic() + 1.0
        while self._process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.01)
        code = self._process.poll()
        log.error("worker %d ended (%s); the end of its log:\n%s", self.pid, code, self._tail())
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            remedy = "if memory was short, lower batch_size or raise accumulate; " if name == "SIGKILL" else ""
            return WorkerError(
                f"the training process was ended by {name}; {remedy}"
                "the server's log has its last words; submit the job again"
            )
        return WorkerError(
            f"the training process ended with code {code} before its work was done; "
            "the server's log has its last words; submit the job again"
        )

    def _tail(self) -> str:
        with self._log_path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - STDERR_TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
