"""JobService: the store of a data directory and the runners of each kind of job, opened and closed together."""

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
        """Start the runners of each kind, as many as its jobs run at once; the first takes over what dead servers left.

        Args:
            store: closed by `close`; knows how many.
            handlers: what does the work of each kind.

        Raises:
            StorageError: the store cannot be read or written.
        """
        self.store = store
        self._runners = []
        for kind, handler in handlers.items():
            for number in range(store.at_once.get(kind, 1)):
                runner = JobRunner(store, kind, handler)
                runner.start(adopt=number == 0)
                self._runners.append(runner)

    def close(self) -> None:
        """Put running jobs back into their queues, and close the store."""
        for runner in self._runners:
            runner.interrupt()
        for runner in self._runners:
            runner.stop(STOP_S)
        self.store.close()
