"""JobService: the store of a data directory and a runner for each kind of job, opened and closed together."""

from collections.abc import Mapping

from server.jobs.job import Kind
from server.jobs.runner import Handler, JobRunner
from server.jobs.store import JobStore

STOP_S = 10.0


class JobService:
    """Runs jobs for as long as the server does.

    Attributes:
        store: where the jobs are.
    """

    def __init__(self, store: JobStore, handlers: Mapping[Kind, Handler]) -> None:
        """Start a runner for each kind, which takes over what dead servers left.

        Args:
            store: closed by `close`.
            handlers: what does the work of each kind.

        Raises:
            StorageError: the store cannot be read or written.
        """
        self.store = store
        self._runners = [JobRunner(store, kind, handler) for kind, handler in handlers.items()]
        for runner in self._runners:
            runner.start()

    def close(self) -> None:
        """Put running jobs back into their queues, and close the store."""
        for runner in self._runners:
            runner.stop(STOP_S)
        self.store.close()
