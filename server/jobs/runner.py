"""JobRunner: a thread that runs the queued jobs of a kind, one after another; several runners take turns."""

import concurrent.futures
import errno
import json
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from server.errors import KelvinError
from server.jobs.claim import Claim
from server.jobs.context import POLL_S, JobContext
from server.jobs.errors import DiskFullError, StorageError
from server.jobs.interruptions import Interrupted, Superseded
from server.jobs.job import Job, Kind
from server.jobs.status import Status
from server.jobs.store import JobStore

log = logging.getLogger(__name__)

RETRY_S = 5.0
ADOPT_EVERY_S = 5.0  # where servers of other machines may die

Handler = Callable[[Job, JobContext], dict[str, Any]]


class JobRunner:
    """Runs a handler on each job; whatever becomes of one, the next one is run.

    A handler looks for the parts that earlier runs have finished, saves its own, calls `raise_if_cancelled` between
    them, and returns the result as JSON.
    """

    def __init__(self, store: JobStore, kind: Kind, handler: Handler) -> None:
        """Prepare to run jobs.

        Args:
            store: where they are.
            kind: of the jobs.
            handler: does the work, on the runner's thread.
        """
        self._store = store
        self._kind = kind
        self._handler = handler
        self._adopts = False
        self._stopping = threading.Event()
        # A daemon, so that a handler that never asks whether to stop cannot keep the server from ending.
        self._thread = threading.Thread(target=self._run, name=f"jobs-{kind}", daemon=True)

    def start(self, *, adopt: bool = True) -> None:
        """Begin to run.

        Args:
            adopt: take over the jobs of servers that have died.

        Raises:
            StorageError: the store cannot be read or written.
        """
        if adopt:
            self._store.adopt(self._kind)
        self._adopts = adopt and self._store.shared
        self._thread.start()

    def interrupt(self) -> None:
        """Interrupt the handler at its next check, and run no further job."""
        self._stopping.set()
        self._store.changes.notify(self._kind)

    def stop(self, timeout_s: float) -> bool:
        """Interrupt the handler at its next check, put its job back into the queue, and end.

        Args:
            timeout_s: how long to wait for that, ≥ 0.

        Returns:
            Whether it has ended; if not, the job is taken over by the next server.
        """
        self.interrupt()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("a %s job has not stopped within %g s; the next server runs it again", self._kind, timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        adopted_s = time.monotonic()
        while not self._stopping.is_set():
            changed = self._store.changes.upcoming(self._kind)
            claim = self._claim()
            if claim is not None:
                self._perform(claim)
            elif self._adopts and time.monotonic() - adopted_s >= ADOPT_EVERY_S:
                self._adopt()
                adopted_s = time.monotonic()
            elif not self._stopping.is_set():
                concurrent.futures.wait((changed,), POLL_S)  # another process may have queued a job again

    def _adopt(self) -> None:
        try:
            self._store.adopt(self._kind)
        except StorageError as error:
            log.error("the %s jobs of servers that died cannot be taken over yet: %s", self._kind, error.message)

    def _claim(self) -> Claim | None:
        try:
            return self._store.claim(self._kind)
        except StorageError as error:
            log.error("no %s job can be run: %s", self._kind, error.message)
            self._stopping.wait(RETRY_S)
            return None

    def _perform(self, claim: Claim) -> None:
        try:
            self._persist(self._work(claim))
        except Superseded:
            log.warning("job %s was ended or claimed by another; this run of it is in vain", claim.job.id)

    def _work(self, claim: Claim) -> Callable[[], None]:
        """Run the handler, and return how the job is to end."""
        context = JobContext(self._store, claim, self._stopping)
        try:
            result = self._handler(claim.job, context)
            json.dumps(result, allow_nan=False)  # what is no JSON is the handler's failure, like any other of its own
        except Superseded:
            raise
        except Interrupted as interruption:
            return partial(claim.leave, interruption.leaves)
        except BaseException as error:  # a handler that calls sys.exit ends itself alone
            return self._failure(claim, error)
        return partial(claim.succeed, result)

    def _failure(self, claim: Claim, error: BaseException) -> Callable[[], None]:
        job_id = claim.job.id
        if self._stopping.is_set():  # perhaps it failed for that alone: the engines it asks are stopping too
            log.warning("job %s failed while the server stops; the next one runs it again", job_id, exc_info=error)
            return partial(claim.leave, Status.QUEUED)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            error = DiskFullError("the disk is full; free some space and submit the job again")
        if not isinstance(error, KelvinError):
            log.error("job %s failed", job_id, exc_info=error)
            error = KelvinError("the server failed on this job; its log says more under the job's id")
        return partial(claim.fail, error)

    def _persist(self, write: Callable[[], None]) -> None:
        """Write how a job ended; while the disk is full, again and again, until there is room or the server stops."""
        while True:
            try:
                return write()
            except StorageError as error:
                log.error("the end of a job could not be written yet: %s", error.message)
            if self._stopping.wait(RETRY_S):
                return None
