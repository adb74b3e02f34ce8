"""JobStore: jobs that outlive the server, in a file of the data directory or elsewhere, and the orders of clients."""

import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.errors import KelvinError
from server.jobs.claim import Claim
from server.jobs.database import Database
from server.jobs.errors import JobStateError
from server.jobs.failures import translated
from server.jobs.job import Job, Kind, new_id
from server.jobs.lease import FileLease, Lease, alone_in
from server.jobs.orders import Note, Order, adopt, cancel, pause, reject, release, resume
from server.jobs.queue import adopt_jobs, claim_next
from server.jobs.reader import JobReader
from server.jobs.schema import JobRow, as_job
from server.jobs.shared_lease import SharedLease
from server.jobs.status import ENDED, Status
from server.jobs.transitions import find, record

FILE_NAME = "kelvin.db"


class JobStore(JobReader):
    """Keeps jobs, their events and the finished parts of their work; safe to use from any thread.

    Several processes may open the same data directory. Each runs the jobs that were given to it, and takes over those
    of a process that has died.
    """

    def __init__(
        self, database: Database, lease: Lease, folder: Path, at_once: Mapping[Kind, int] | None = None
    ) -> None:
        """Join what `open` has opened.

        Args:
            database: has the rows.
            lease: of this process.
            folder: one sub-folder a job, for its files.
            at_once: how many jobs of a kind a server runs at once; None: one of each.
        """
        super().__init__(database, at_once)
        self._lease = lease
        self._folder = folder

    @classmethod
    def open(
        cls, data_dir: Path, database_url: str | None = None, *, at_once: Mapping[Kind, int] | None = None
    ) -> Self:
        """Open the store of a data directory, and make it if there is none.

        Args:
            data_dir: made if need be; has the files of jobs.
            database_url: of a database that several machines may share; None: a file in the data directory, which is
                then on a local disk.
            at_once: how many jobs of a kind a server runs at once; None: one of each.

        Raises:
            StorageError: it cannot be opened, is damaged, or a newer Kelvin made it.
        """
        with translated(data_dir), ExitStack() as undo:
            data_dir.mkdir(parents=True, exist_ok=True)
            lease: Lease = (file := FileLease(data_dir / "leases"))
            undo.callback(file.release)
            with alone_in(data_dir):  # SQLite itself lets only one make the file, and fails for the others
                database = Database(data_dir / FILE_NAME if database_url is None else database_url)
                undo.callback(database.close)
                if database_url is not None:
                    lease = SharedLease(database, file, data_dir)
            undo.pop_all()
        return cls(database, lease, data_dir / "jobs", at_once)

    def close(self) -> None:
        """Close the store, and let go of the jobs that have not ended: the next process to run jobs takes them over."""
        self._lease.release()
        self._database.close()

    @property
    def shared(self) -> bool:
        """Whether servers of other machines may die unseen, so that their jobs are looked for again and again."""
        return isinstance(self._lease, SharedLease)

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
        return self._order(job_id, self._resume)

    def release(self, job_id: str) -> Job:
        """Queue a job whose files have been validated.

        Raises:
            JobStateError: they were not being validated, perhaps because it has been cancelled.
            NotFoundError: there is no such job.
        """
        return self._order(job_id, release)

    def reject(self, job_id: str, error: KelvinError, notes: Iterable[Note] = ()) -> Job:
        """Fail a job whose files are not valid.

        Args:
            job_id: of the job.
            error: what is wrong with them.
            notes: further events, before its end: message and data.

        Raises:
            JobStateError: they were not being validated, perhaps because it has been cancelled.
            NotFoundError: there is no such job.
        """
        return self._order(job_id, partial(reject, error=error, notes=notes))

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
            if not self._lease.reaches(row.owner, session):
                raise JobStateError("the job's files are in the data folder of another server; delete it there")
            with translated(folder):
                if folder.exists():
                    shutil.rmtree(folder)
            session.delete(row)

    def claim(self, kind: Kind) -> Claim | None:
        """Set the oldest queued job running, and return the right to it; None: there is none."""
        return claim_next(self._database, self._lease, kind)

    def take_over(self, job_id: str) -> bool:
        """Take over one job if the process that it belongs to has died, and tell whether that was so.

        Raises:
            NotFoundError: there is no such job.
        """
        with self._database.write(job_id) as session:
            row = find(session, job_id)
            others = row.owner != self._lease.owner and row.status not in ENDED
            dead = others and self._lease.has_ended(row.owner, session)
            if dead:
                adopt(session, row, self._lease.owner)
            kind = row.kind
        self.changes.notify(kind)
        return dead

    def adopt(self, kind: Kind) -> None:
        """Take over the jobs of processes that have died."""
        adopt_jobs(self._database, self._lease, kind)

    def _resume(self, session: Session, row: JobRow) -> None:
        here = self._lease.reaches(row.owner, session)  # else whoever has its files goes on with it
        resume(session, row, owner=self._lease.owner if here else row.owner)

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
