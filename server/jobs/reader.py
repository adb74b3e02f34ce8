"""JobReader: what can be learnt of jobs, their events and the finished parts of their work."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from server.jobs.changes import Changes
from server.jobs.database import Database
from server.jobs.job import Event, Job, Kind
from server.jobs.queue import ahead_of
from server.jobs.schema import EventRow, JobRow, PartRow, as_event, as_job
from server.jobs.status import ENDED, Status
from server.jobs.transitions import find


class JobReader:
    """Reads the store; safe to use from any thread, and every answer is of one moment."""

    def __init__(self, database: Database, at_once: Mapping[Kind, int] | None = None) -> None:
        """Read from a database.

        Args:
            database: which.
            at_once: how many jobs of a kind a server runs at once; None: one of each.
        """
        self._database = database
        self.at_once: Mapping[Kind, int] = at_once or {}

    @property
    def changes(self) -> Changes:
        """What wakes those who wait for a job, by its id, or for a queue, by its kind."""
        return self._database.changes

    def get(self, job_id: str) -> Job:
        """Return a job as it is now.

        Raises:
            NotFoundError: there is no such job.
        """
        with self._database.read() as session:
            return as_job(find(session, job_id))

    def result(self, job_id: str) -> dict[str, Any] | None:
        """Return what a job has resulted in; None: it has not succeeded.

        Raises:
            NotFoundError: there is no such job.
        """
        with self._database.read() as session:
            return find(session, job_id).result

    def list_jobs(self, kind: Kind, *, limit: int, after: str | None = None) -> list[Job]:
        """Return jobs, newest first.

        Args:
            kind: of the jobs.
            limit: at most so many, ≥ 1; ask for one more than a page to learn whether there is another.
            after: id of the last job of the page before; None: from the newest.

        Raises:
            NotFoundError: there is no job `after`.
        """
        query = select(JobRow).where(JobRow.kind == kind).order_by(JobRow.number.desc()).limit(limit)
        with self._database.read() as session:
            if after is not None:
                query = query.where(JobRow.number < find(session, after).number)
            return [as_job(row) for row in session.scalars(query)]

    def unfinished(self, kind: Kind) -> list[Job]:
        """Return the jobs that have not ended, oldest first.

        Args:
            kind: of the jobs.
        """
        query = select(JobRow).where(JobRow.kind == kind, JobRow.status.not_in(ENDED)).order_by(JobRow.number)
        with self._database.read() as session:
            return [as_job(row) for row in session.scalars(query)]

    def queue_position(self, job_id: str) -> int | None:
        """Return how many jobs end before this one begins; None: it is not queued.

        Raises:
            NotFoundError: there is no such job.
        """
        with self._database.read() as session:
            row = find(session, job_id)
            if row.status is not Status.QUEUED:
                return None
            ahead = session.scalar(select(func.count(JobRow.number)).where(ahead_of(row))) or 0
            return max(0, ahead - self.at_once.get(row.kind, 1) + 1)

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return events, oldest first.

        Args:
            job_id: of the job.
            after: number of the last event that is known already; 0: none.
            limit: at most so many, ≥ 1.

        Raises:
            NotFoundError: there is no such job.
        """
        query = select(EventRow).where(EventRow.job_id == job_id, EventRow.number > after)
        with self._database.read() as session:
            find(session, job_id)
            return [as_event(row) for row in session.scalars(query.order_by(EventRow.number).limit(limit))]

    def last_events(self, job_id: str, *, limit: int, before: int | None = None) -> list[Event]:
        """Return events, newest first.

        Args:
            job_id: of the job.
            limit: at most so many, ≥ 1.
            before: number of the last event of the page before; None: from the newest.

        Raises:
            NotFoundError: there is no such job.
        """
        query = select(EventRow).where(EventRow.job_id == job_id).order_by(EventRow.number.desc()).limit(limit)
        if before is not None:
            query = query.where(EventRow.number < before)
        with self._database.read() as session:
            find(session, job_id)
            return [as_event(row) for row in session.scalars(query)]

    def counts(self) -> dict[tuple[Kind, Status], int]:
        """Count the jobs of each kind and status that there are."""
        query = select(JobRow.kind, JobRow.status, func.count(JobRow.number)).group_by(JobRow.kind, JobRow.status)
        with self._database.read() as session:
            return {(kind, status): count for kind, status, count in session.execute(query)}

    def part_keys(self, job_id: str) -> list[str]:
        """Return the keys of the finished parts, in the order of their characters.

        Raises:
            NotFoundError: there is no such job.
        """
        query = select(PartRow.key).where(PartRow.job_id == job_id)
        with self._database.read() as session:
            find(session, job_id)
            return sorted(session.scalars(query))  # databases sort by rules of their own

    def part(self, job_id: str, key: str) -> dict[str, Any] | None:
        """Return a finished part; None: there is none of that key."""
        with self._database.read() as session:
            row = session.get(PartRow, (job_id, key))
            return None if row is None else row.payload
