"""Orders: what a client can ask of a job, and what becomes of it in each status."""

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy.orm import Session

from server.errors import KelvinError
from server.jobs.errors import AttemptsError, JobStateError
from server.jobs.schema import JobRow
from server.jobs.status import Status
from server.jobs.transitions import fail, move, record

MAX_ATTEMPTS = 3  # a job that ran each time that so many servers died, and finished no part in between, fails

Order = Callable[[Session, JobRow], None]
Note = tuple[str, dict[str, Any]]


def cancel(session: Session, row: JobRow) -> None:
    """Cancel a job: at once where it waits, at its next check where it runs; a second time changes nothing.

    Raises:
        JobStateError: it has succeeded or failed.
    """
    if row.status is Status.CANCELLED or row.cancel_requested:
        return
    if row.status is Status.RUNNING:
        row.cancel_requested = True
        record(session, row, "cancel_requested", "the job is asked to stop for good")
    else:
        move(session, row, Status.CANCELLED)


def pause(session: Session, row: JobRow) -> None:
    """Pause a job: at once where it waits, at its next check where it runs; a second time changes nothing.

    Raises:
        JobStateError: it has ended, or its files are still being validated.
    """
    if row.status is Status.PAUSED or row.pause_requested:
        return
    if row.status is Status.RUNNING:
        row.pause_requested = True
        record(session, row, "pause_requested", "the job is asked to pause")
    else:
        move(session, row, Status.PAUSED)


def resume(session: Session, row: JobRow, owner: str) -> None:
    """Queue a paused job again, or take back a pause that has not begun.

    Args:
        session: in a write transaction.
        row: of the job.
        owner: who is to run it.

    Raises:
        JobStateError: it is not paused, nor about to be.
    """
    if row.status is Status.RUNNING and row.pause_requested:
        row.pause_requested = False
        record(session, row, "resumed", "the job goes on")
    elif row.status is Status.PAUSED:
        row.owner = owner
        move(session, row, Status.QUEUED)
    else:
        raise JobStateError(f"the job is {row.status.value}; only a paused one can be resumed")


def release(session: Session, row: JobRow) -> None:
    """Queue a job whose files have been validated.

    Raises:
        JobStateError: they were not being validated.
    """
    _require_validating(row)
    move(session, row, Status.QUEUED)


def reject(session: Session, row: JobRow, error: KelvinError, notes: Iterable[Note] = ()) -> None:
    """Fail a job whose files are not valid.

    Args:
        session: in a write transaction.
        row: of the job.
        error: what is wrong with them.
        notes: further events, before its end: message and data.

    Raises:
        JobStateError: they were not being validated.
    """
    _require_validating(row)
    for message, data in notes:
        record(session, row, "message", message, level="error", data=data)
    fail(session, row, error)


def adopt(session: Session, row: JobRow, owner: str) -> None:
    """Take over a job of a server that has died; what was running is queued again, unless it had been told to stop.

    Args:
        session: in a write transaction.
        row: of the job, not ended.
        owner: who is to run it from now on.
    """
    row.owner = owner
    if row.status is Status.VALIDATING_FILES:
        move(session, row, Status.QUEUED, "the server restarted; the files are validated when the job runs")
    elif row.status is not Status.RUNNING:
        return
    elif row.cancel_requested:
        move(session, row, Status.CANCELLED)
    elif row.pause_requested:
        move(session, row, Status.PAUSED)
    elif row.attempts < MAX_ATTEMPTS:
        row.attempts += 1
        move(session, row, Status.QUEUED, "the server restarted; finished parts are kept")
    else:
        message = (
            f"the server stopped {row.attempts} times while this job ran, and no part of it was finished in between; "
            "the server's log may say why; submit it again, smaller if memory was short"
        )
        fail(session, row, AttemptsError(message))


def _require_validating(row: JobRow) -> None:
    if row.status is not Status.VALIDATING_FILES:
        raise JobStateError(f"the job is {row.status.value}; its files are not being validated")
