"""Rows under a write transaction: find a job, move it to another status, record what happened to it."""

import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.errors import KelvinError, NotFoundError
from server.jobs.errors import JobStateError
from server.jobs.job import Level
from server.jobs.schema import EventRow, JobRow
from server.jobs.status import ENDED, TRANSITIONS, Status


def find(session: Session, job_id: str) -> JobRow:
    """Return a job's row.

    Args:
        session: in a transaction.
        job_id: as given by a client.

    Raises:
        NotFoundError: there is no such job.
    """
    row = session.scalar(select(JobRow).where(JobRow.id == job_id))
    if row is None:
        raise NotFoundError("there is no job of this id; list the jobs to see those there are", param="id")
    return row


def move(session: Session, row: JobRow, to: Status, message: str | None = None) -> None:
    """Change a job's status, and record that; nothing else does.

    Args:
        session: in a write transaction, so that the status read is the status changed.
        row: of the job.
        to: the new status.
        message: why, for a person; None: the status says it all.

    Raises:
        JobStateError: the new status may not follow the old one.
    """
    if to not in TRANSITIONS[row.status]:
        raise JobStateError(f"the job is {row.status.value}, and from there it cannot become {to.value}")
    row.status, row.eta_s = to, None
    if to is not Status.RUNNING:
        row.cancel_requested = row.pause_requested = False
    if to in ENDED:
        row.finished_at = time.time()
    level: Level = "error" if to is Status.FAILED else "info"
    record(session, row, "status", message or f"the job is {to.value}", level=level, data={"status": to.value})


def fail(session: Session, row: JobRow, error: KelvinError) -> None:
    """End a job with an error.

    Args:
        session: in a write transaction.
        row: of the job.
        error: what its owner is to know.

    Raises:
        JobStateError: the job may not fail now.
    """
    row.error = {"message": error.message, "code": error.code, "param": error.param}
    move(session, row, Status.FAILED, error.message)


def record(
    session: Session, row: JobRow, type: str, message: str, *, level: Level = "info", data: dict[str, Any] | None = None
) -> None:
    """Add an event to a job.

    Args:
        session: in a write transaction.
        row: of the job.
        type: of the event.
        message: for a person.
        level: how grave it is.
        data: for a program; None is nothing.
    """
    row.last_event += 1
    session.add(
        EventRow(
            job_id=row.id,
            number=row.last_event,
            created_at=time.time(),
            type=type,
            level=level,
            message=message,
            data=data or {},
        )
    )
