"""What can go wrong with jobs: the store's file, and orders that do not fit a job's status."""

from server.errors import InvalidRequestError, KelvinError, UnavailableError


class StorageError(UnavailableError):
    """The store cannot be read or written; the message names its file and the remedy."""

    code = "storage_error"


class DiskFullError(StorageError):
    """There is no room left on the disk; what was being written has been taken back whole."""

    code = "disk_full"


class JobStateError(InvalidRequestError):
    """The job's status does not allow what was asked of it."""

    code = "conflict"


class AttemptsError(KelvinError):
    """The server died under the job again and again."""

    code = "too_many_attempts"
