"""Queues: which jobs of a kind this process is to run, and which of them is next."""

from sqlalchemy import ColumnElement, select

from server.jobs.claim import Claim, begin
from server.jobs.database import Database
from server.jobs.job import Kind
from server.jobs.lease import Lease
from server.jobs.orders import adopt
from server.jobs.schema import JobRow
from server.jobs.status import ENDED, Status


def claim_next(database: Database, lease: Lease, kind: Kind) -> Claim | None:
    """Set the oldest queued job running, and return the right to it; None: there is none.

    Args:
        database: where the jobs are.
        lease: of this process, which runs its own jobs only.
        kind: of the job.

    Raises:
        StorageError: nothing was claimed.
    """
    in_line = (JobRow.kind == kind) & (JobRow.owner == lease.owner) & (JobRow.status == Status.QUEUED)
    oldest = select(JobRow).where(in_line).order_by(JobRow.number).limit(1)
    with database.write() as session:
        row = session.scalar(oldest)
        job = None if row is None else begin(session, row)
    if job is None:
        return None
    database.changes.notify(job.id)
    return Claim(database, job)


def adopt_jobs(database: Database, lease: Lease, kind: Kind) -> None:
    """Take over the jobs of processes that have died.

    Args:
        database: where the jobs are.
        lease: of this process.
        kind: of the jobs.

    Raises:
        StorageError: no job was taken over.
    """
    others = (JobRow.kind == kind) & (JobRow.owner != lease.owner) & JobRow.status.not_in(ENDED)
    with database.write(kind) as session:
        rows = session.scalars(select(JobRow).where(others).order_by(JobRow.number)).all()
        dead = {owner for owner in {row.owner for row in rows} if lease.has_ended(owner, session)}
        for row in rows:
            if row.owner in dead:
                adopt(session, row, lease.owner)
    lease.sweep()


def ahead_of(row: JobRow) -> ColumnElement[bool]:
    """Describe the jobs of its server that run, or begin before a queued one does.

    Args:
        row: of the queued job.
    """
    earlier = (JobRow.status == Status.QUEUED) & (JobRow.number < row.number)
    return (JobRow.kind == row.kind) & (JobRow.owner == row.owner) & (earlier | (JobRow.status == Status.RUNNING))
