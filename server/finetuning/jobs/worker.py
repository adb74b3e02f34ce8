"""The worker: a process of its own for one fine-tune, `python -m server.finetuning.jobs.worker FOLDER THREADS PARENT`.

Its orders come over standard input: an `Order`, and later perhaps `stop`. What it has to say goes out as lines over
what was standard output; whatever libraries print goes to standard error. It does not outlive its parent.
"""

import ctypes
import errno
import fcntl
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.finetuning.channel import Channel, Level
    from server.finetuning.jobs.worker_lines import Order

NICENESS = 10
ORPHAN_GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1
_THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
_OUT_OF_MEMORY = ("OutOfMemoryError", "ResourceExhaustedError")  # PyTorch's and TensorFlow's

Work = Callable[["Order", Path, "Channel"], dict[str, Any]]


class LineChannel:
    """A training's channel over the pipe to the server."""

    def __init__(self, output: IO[str]) -> None:
        """Report to a pipe.

        Args:
            output: of the worker.
        """
        self._output = output
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def should_stop(self) -> bool:
        """Whether to keep a checkpoint and raise Stopped."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ask for that."""
        self._stopping.set()

    def progress(self, fraction: float, *, epoch: int, step: int, eta_s: float | None) -> None:
        """Say how far training is."""
        self.write(progress={"fraction": fraction, "epoch": epoch, "step": step, "eta_s": eta_s})

    def event(self, type: str, message: str, *, level: "Level" = "info", data: dict[str, Any] | None = None) -> None:
        """Say what happened."""
        self.write(event={"type": type, "message": message, "level": level, "data": data or {}})

    def write(self, **value: Any) -> None:
        """Write a line; from any thread."""
        from server.finetuning.jobs.worker_lines import write_line

        with self._lock:
            write_line(self._output, **value)


def main(work: Work | None = None) -> None:
    """Do what the first line of standard input says.

    Args:
        work: does it; None: fine-tuning.
    """
    folder, threads, parent = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    _settle_process(threads, parent)
    output = _own_output()
    from server.finetuning.jobs.worker_lines import Order  # from here on libraries are loaded, with the limits in force

    # Unbuffered: a thread that waits inside a buffer's lock would break the interpreter's end.
    orders = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
    order = Order.model_validate_json(orders.readline())
    channel = LineChannel(output)
    signal.signal(signal.SIGTERM, lambda *_: channel.stop())
    threading.Thread(target=_listen, args=(orders, channel), daemon=True).start()
    with _alone_in(folder, channel):
        channel.write(**_outcome(work or fine_tune, order, folder, channel))


def fine_tune(order: "Order", folder: Path, channel: "Channel") -> dict[str, Any]:
    """Train and judge a classifier, or check the rows that it would be trained on.

    Args:
        order: says which.
        folder: of the job; nothing is written to it by a check.
        channel: hears how it goes.
    """
    from server.finetuning.jobs.running import check, run

    if order.task == "check":
        return check(order.plan, order.files)
    return run(order.plan, order.files, folder, channel).model_dump(mode="json")


def _outcome(work: Work, order: "Order", folder: Path, channel: LineChannel) -> dict[str, Any]:
    """Do the work, and return the last line."""
    from server.errors import KelvinError
    from server.finetuning.channel import Stopped

    try:
        return {"result": work(order, folder, channel)}
    except Stopped:
        return {"stopped": True}
    except KelvinError as error:
        return _error(error.message, error.code, error.param)
    except Exception as error:
        traceback.print_exc()
        return _unforeseen(error)


def _unforeseen(error: Exception) -> dict[str, Any]:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _error("the disk is full; free some space and submit the job again", "disk_full")
    if isinstance(error, MemoryError) or type(error).__name__ in _OUT_OF_MEMORY:
        message = "memory ran out; lower batch_size, or raise accumulate so that a batch is computed in pieces"
        return _error(message, "out_of_memory", "hyperparameters")
    message = f"training failed with {type(error).__name__}, which nobody foresaw; the server's log says more"
    return _error(message, "internal_error")


def _error(message: str, code: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, "param": param}}


def _settle_process(threads: str, parent: int) -> None:
    """Die with the parent, give way to the server, and take few cores: before what takes them all is loaded."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be tied to
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, who decides
    os.nice(NICENESS)
    for variable in _THREAD_LIMITS:
        os.environ[variable] = threads


def _own_output() -> IO[str]:
    """Take standard output for the lines alone: what else is printed would be no JSON."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output


def _listen(orders: IO[bytes], channel: LineChannel) -> None:
    """Wait for the order to stop; the end of the input says that the parent is gone."""
    for line in orders:
        if line.strip() == b"stop":
            channel.stop()
    channel.stop()
    time.sleep(ORPHAN_GRACE_S)
    os._exit(1)


@contextmanager
def _alone_in(folder: Path, channel: LineChannel) -> Iterator[None]:
    """Lock the folder, so that two workers never write to it at once; the kernel unlocks it when this process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            channel.event("message", "another process still works on this job; waiting for its end", level="warn")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
