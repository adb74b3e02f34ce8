"""Claim: what only the run that has claimed a job may write about it."""

import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.errors import KelvinError
from server.jobs.database import Database
from server.jobs.interruptions import Superseded
from server.jobs.job import Job, Level
from server.jobs.schema import JobRow, PartRow, as_job
from server.jobs.status import Status
from server.jobs.transitions import fail, move, record


class Claim:
    """A running job, and the right to say how it goes.

    Every write holds only while the job still runs and nobody has claimed it since: its number of the run is a fencing
    token. What a run has to say after that is refused.
    """

    def __init__(self, database: Database, job: Job) -> None:
        """Hold a job.

        Args:
            database: where it is kept.
            job: as it was when it was claimed.
        """
        self._database = database
        self.job = job

    def now(self) -> Job:
        """Return the job as it is now.

        Raises:
            Superseded: the claim has ended.
        """
        with self._database.read() as session:
            return as_job(self._row(session))

    def report(self, fraction: float, eta_s: float | None) -> None:
        """Write how far the job is."""
        with self._database.write(self.job.id) as session:
            row = self._row(session)
            row.progress, row.eta_s = fraction, eta_s

    def record(self, type: str, message: str, level: Level, data: dict[str, Any] | None) -> None:
        """Add an event."""
        with self._database.write(self.job.id) as session:
            record(session, self._row(session), type, message, level=level, data=data)

    def save_part(self, key: str, payload: dict[str, Any]) -> None:
        """Keep a finished part, in the place of an earlier one of its key; a job that gets on may be tried again."""
        with self._database.write(self.job.id) as session:
            self._row(session).attempts = 1
            session.merge(PartRow(job_id=self.job.id, key=key, payload=payload))

    def succeed(self, result: dict[str, Any]) -> None:
        """End the job with its result."""
        with self._database.write(self.job.id) as session:
            row = self._row(session)
            row.result, row.progress = result, 1.0
            move(session, row, Status.SUCCEEDED)

    def fail(self, error: KelvinError) -> None:
        """End the job with an error."""
        with self._database.write(self.job.id) as session:
            fail(session, self._row(session), error)

    def leave(self, to: Status) -> None:
        """Give up the claim and leave the job cancelled, paused or queued; an order that came meanwhile wins."""
        with self._database.write(self.job.id) as session:
            row = self._row(session)
            if row.cancel_requested:
                to = Status.CANCELLED
            elif row.pause_requested and to is Status.QUEUED:
                to = Status.PAUSED
            elif to is Status.PAUSED and not row.pause_requested:
                to = Status.QUEUED  # it was resumed while its handler was stopping
            move(session, row, to)

    def _row(self, session: Session) -> JobRow:
        row = session.scalar(select(JobRow).where(JobRow.id == self.job.id, JobRow.run == self.job.run))
        if row is None or row.status is not Status.RUNNING:
            raise Superseded
        return row


def begin(session: Session, row: JobRow) -> Job:
    """Set a queued job running.

    Args:
        session: in a write transaction.
        row: of the job.
    """
    row.run += 1
    row.started_at = row.started_at or time.time()
    move(session, row, Status.RUNNING)
    return as_job(row)
