"""JobContext: what a handler can tell of its job while it works, and learn of the orders that concern it."""

import concurrent.futures
import math
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from server.jobs.claim import Claim
from server.jobs.interruptions import Cancelled, Paused, Stopping
from server.jobs.job import Level
from server.jobs.store import JobStore

REPORT_EVERY_S = 0.25
POLL_S = 2.0

_Result = TypeVar("_Result")


class JobContext:
    """A handler's view of its job; every method that writes raises Superseded once the job is another's."""

    def __init__(self, store: JobStore, claim: Claim, stopping: threading.Event) -> None:
        """Prepare for a run.

        Args:
            store: where the job is.
            claim: of the job.
            stopping: set when the server stops.
        """
        self._store = store
        self._claim = claim
        self._stopping = stopping
        self._reported_s = -math.inf

    @property
    def folder(self) -> Path:
        """Folder of the job's files, made when it is first asked for; removed with the job."""
        folder = self._store.folder(self._claim.job.id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def report(self, fraction: float, eta_s: float | None = None) -> None:
        """Say how far the job is; of reports within a quarter of a second, the first is kept.

        Args:
            fraction: done, in [0, 1].
            eta_s: seconds left, ≥ 0; None: unknown.

        Raises:
            ValueError: a figure is out of range.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction is {fraction}; it must lie in [0, 1]")
        if eta_s is not None and not 0.0 <= eta_s < math.inf:
            raise ValueError(f"eta_s is {eta_s}; it must be finite and not negative")
        now_s = time.monotonic()
        if now_s - self._reported_s >= REPORT_EVERY_S:
            self._claim.report(fraction, eta_s)
            self._reported_s = now_s

    def event(self, type: str, message: str, *, level: Level = "info", data: dict[str, Any] | None = None) -> None:
        """Add an event to the job.

        Args:
            type: `message`, `metrics` or another name; `status` is the store's.
            message: for a person.
            level: how grave it is.
            data: JSON, for a program; None: nothing.
        """
        self._claim.record(type, message, level, data)

    def part(self, key: str) -> dict[str, Any] | None:
        """Return a part that this or an earlier run has finished; None: it is still to be done."""
        return self._store.part(self._claim.job.id, key)

    def save_part(self, key: str, payload: dict[str, Any]) -> None:
        """Keep a finished part; on the disk when this returns.

        Args:
            key: of the part; one of the same key is replaced.
            payload: JSON.

        Raises:
            StorageError: nothing was kept.
        """
        self._claim.save_part(key, payload)

    def raise_if_cancelled(self) -> None:
        """Return if the job is to go on; it reads the store, so ask a few times a second rather than a thousand.

        Raises:
            Cancelled: the job is to end.
            Paused: the job is to wait.
            Stopping: the server stops.
        """
        job = self._claim.now()
        if job.cancel_requested:
            raise Cancelled
        if job.pause_requested:
            raise Paused
        if self._stopping.is_set():
            raise Stopping

    def result_of(self, future: Future[_Result]) -> _Result:
        """Wait for what runs elsewhere, such as a coroutine on the event loop, for as long as the job is to go on.

        Args:
            future: cancelled when the job is not to go on.

        Raises:
            Exception: what the future raises; and what `raise_if_cancelled` raises.
        """
        job = self._claim.job
        try:
            while not future.done():
                awaited: set[Future[Any]] = {future, *map(self._store.changes.upcoming, (job.id, job.kind))}
                self.raise_if_cancelled()
                concurrent.futures.wait(awaited, POLL_S, return_when=concurrent.futures.FIRST_COMPLETED)
            return future.result()
        finally:
            future.cancel()
