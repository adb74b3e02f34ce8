"""The store of jobs, as the routes come to it."""

from starlette.datastructures import State

from server.api.served import require_phase
from server.jobs.errors import StorageError
from server.jobs.service import JobService
from server.jobs.store import JobStore


def job_store(state: State) -> JobStore:
    """Return the store of jobs.

    Args:
        state: the application's.

    Raises:
        UnavailableError: the server is loading or stopping.
        StorageError: the store could not be opened.
    """
    require_phase(state)
    jobs: JobService | StorageError = state.jobs
    if isinstance(jobs, StorageError):
        raise jobs
    return jobs.store
