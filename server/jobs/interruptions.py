"""What ends a handler before its work is done."""

from server.jobs.status import Status


class Interrupted(BaseException):
    """The handler is to return at once; no Exception, so that no `except Exception` of a handler holds it up."""

    leaves: Status


class Cancelled(Interrupted):
    """Somebody has cancelled the job."""

    leaves = Status.CANCELLED


class Paused(Interrupted):
    """Somebody has paused the job."""

    leaves = Status.PAUSED


class Stopping(Interrupted):
    """The server stops; the job goes on when it is back."""

    leaves = Status.QUEUED


class Superseded(BaseException):
    """The job has ended, or another run has claimed it; nothing that this one writes is kept."""
