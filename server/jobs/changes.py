"""Changes: wakes whoever waits for a job or a queue to change, in threads and on event loops, without polling."""

import threading
from concurrent.futures import Future
from weakref import WeakValueDictionary


class Changes:
    """Futures by name, each done at the next change of what it is named after.

    Whoever waits takes the future first and looks then, so that no change falls in between. A thread waits for it with
    `concurrent.futures.wait`, a coroutine with `asyncio.wrap_future`. Only those who wait keep a future alive.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited: WeakValueDictionary[str, Future[None]] = WeakValueDictionary()

    def upcoming(self, name: str) -> Future[None]:
        """Return the future of the next change.

        Args:
            name: a job's id or a queue's kind.
        """
        with self._lock:
            future = self._awaited.get(name)
            if future is None:
                future = Future()
                future.set_running_or_notify_cancel()  # else one coroutine that gives up would cancel it for all
                self._awaited[name] = future
            return future

    def notify(self, *names: str) -> None:
        """Wake those who wait for any of these names."""
        with self._lock:
            futures = [self._awaited.pop(name, None) for name in names]
        for future in futures:
            if future is not None:
                future.set_result(None)
