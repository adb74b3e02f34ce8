"""JobStore: jobs that outlive the server, in one file of the data directory, and the orders that clients give."""

import shutil
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from sqlalchemy import select

from server.errors import KelvinError
from server.jobs.claim import Claim
from server.jobs.database import Database, translated
from server.jobs.errors import JobStateError
from server.jobs.job import Job, Kind, new_id
from server.jobs.lease import Lease, alone_in
from server.jobs.orders import Order, cancel, pause, reject, release, resume
from server.jobs.queue import adopt_jobs, claim_next
from server.jobs.reader import JobReader
from server.jobs.schema import JobRow, as_job
from server.jobs.status import ENDED, Status
from server.jobs.transitions import find, record

FILE_NAME = "kelvin.db"


class JobStore(JobReader):
    """Keeps jobs, their events and the finished parts of their work; safe to use from any thread.

    Several processes may open the same data directory. Each runs the jobs that were given to it, and takes over those
    of a process that has died.
    """

    def __init__(self, database: Database, lease: Lease, folder: Path) -> None:
        """Join what `open` has opened.

        Args:
            database: the file.
            lease: of this process.
            folder: one sub-folder a job, for its files.
        """
        super().__init__(database)
        self._lease = lease
        self._folder = folder

    @classmethod
    def open(cls, data_dir: Path) -> Self:
        """Open the store of a data directory, and make it if there is none.

        Args:
            data_dir: made if need be; on a local disk.

        Raises:
            StorageError: it cannot be opened, is damaged, or a newer Kelvin made it.
        """
        with translated(data_dir), ExitStack() as undo:
            data_dir.mkdir(parents=True, exist_ok=True)
            lease = Lease(data_dir / "leases")
            undo.callback(lease.release)
            with alone_in(data_dir):  # SQLite itself lets only one make the file, and fails for the others
                database = Database(data_dir / FILE_NAME)
            undo.pop_all()
        return cls(database, lease, data_dir / "jobs")

    def close(self) -> None:
        """Close the file, and let go of the jobs that have not ended: the next process to run jobs takes them over."""
        self._database.close()
        self._lease.release()

    def submit(
        self,
        kind: Kind,
        request: dict[str, Any],
        *,
        metadata: dict[str, Any] | None = None,
        status: Status = Status.QUEUED,
        idempotency_key: str | None = None,
    ) -> Job:
        """Add a job.

        Args:
            kind: what it is to do.
            request: JSON; all that is needed to do it, now or after a restart.
            metadata: the client's own notes.
            status: queued, or validating_files, which `release` ends.
            idempotency_key: a second job of the kind with the same key is the first one.

        Raises:
            JobStateError: the key was used with another request.
            StorageError: nothing was added.
        """
        with self._database.write(kind) as session:
            if idempotency_key is not None:
                same_key = (JobRow.kind == kind, JobRow.idempotency_key == idempotency_key)
                earlier = session.scalar(select(JobRow).where(*same_key))
                if earlier is not None:
                    return _same(earlier, request)
            row = JobRow(
                id=new_id(kind),
                kind=kind,
                status=status,
                owner=self._lease.owner,
                idempotency_key=idempotency_key,
                request=request,
                metadata_=metadata or {},
                created_at=time.time(),
                last_event=0,
            )
            session.add(row)
            session.flush()
            record(session, row, "status", f"the job is {status.value}", data={"status": status.value})
            return as_job(row)

    def folder(self, job_id: str) -> Path:
        """Return where a job keeps its files; made by whoever writes the first, removed with the job."""
        return self._folder / job_id

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once where it waits, at its next check where it runs; a second time changes nothing.

        Raises:
            JobStateError: it has succeeded or failed.
            NotFoundError: there is no such job.
        """
        return self._order(job_id, cancel)

    def pause(self, job_id: str) -> Job:
        """Pause a job: at once where it waits, at its next check where it runs; a second time changes nothing.

        Raises:
            JobStateError: it has ended, or its files are still being validated.
            NotFoundError: there is no such job.
        """
        return self._order(job_id, pause)

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again, or take back a pause that has not begun.

        Raises:
            JobStateError: it is not paused, nor about to be.
            NotFoundError: there is no such job.
        """
        return self._order(job_id, partial(resume, owner=self._lease.owner))

    def release(self, job_id: str) -> Job:
        """Queue a job whose files have been validated.

        Raises:
            JobStateError: they were not being validated, perhaps because it has been cancelled.
            NotFoundError: there is no such job.
        """
        return self._order(job_id, release)

    def reject(self, job_id: str, error: KelvinError) -> Job:
        """Fail a job whose files are not valid.

        Raises:
            JobStateError: they were not being validated, perhaps because it has been cancelled.
            NotFoundError: there is no such job.
        """
        return self._order(job_id, partial(reject, error=error))

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its events, parts and files.

        Raises:
            JobStateError: it has not ended.
            NotFoundError: there is no such job.
            StorageError: a file could not be removed; the job is still there, and can be deleted again.
        """
        folder = self.folder(job_id)
        with self._database.write(job_id) as session:
            row = find(session, job_id)
            if row.status not in ENDED:
                raise JobStateError(f"the job is {row.status.value}; cancel it, and delete it when it has ended")
            with translated(folder):
                if folder.exists():
                    shutil.rmtree(folder)
            session.delete(row)

    def claim(self, kind: Kind) -> Claim | None:
        """Set the oldest queued job running, and return the right to it; None: there is none."""
        return claim_next(self._database, self._lease, kind)

    def adopt(self, kind: Kind) -> None:
        """Take over the jobs of processes that have died."""
        adopt_jobs(self._database, self._lease, kind)

    def _order(self, job_id: str, order: Order) -> Job:
        with self._database.write(job_id) as session:
            row = find(session, job_id)
            order(session, row)
            job = as_job(row)
        self.changes.notify(job.kind)
        return job


def _same(row: JobRow, request: dict[str, Any]) -> Job:
    if row.request != request:
        raise JobStateError("this Idempotency-Key was used with another request; use a new key for a new request")
    return as_job(row)
