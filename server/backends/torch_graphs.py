"""CUDA graphs of a step: recorded once for each number of rows and each thing that a step may do, then replayed."""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

log = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")
Record = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]

_WARM_UPS = 2  # runs before a recording: libraries choose kernels and take workspaces at their first


def buckets_of(num_slots: int) -> tuple[int, ...]:
    """Return the numbers of rows that steps are recorded for: close together where a row more costs most.

    Args:
        num_slots: the greatest of them, ≥ 1.
    """
    sizes = [1, 2, 4, *range(8, 64, 8), *range(64, 256, 32), *range(256, num_slots, 64)]
    return (*(size for size in sizes if size < num_slots), num_slots)


def recorder_of(device: torch.device) -> Record | None:
    """Return what records steps on a device; None: steps run operation by operation there."""
    return CudaRecorder(device) if device.type == "cuda" else None


@dataclass(slots=True)
class GraphCounts:
    """Written by one thread; a reader may see one number a step before another.

    Attributes:
        hits: steps that replayed a graph.
        misses: steps that ran operation by operation, or recorded the graph that they then replayed.
    """

    hits: int = 0
    misses: int = 0


class Graphs(Generic[Outcome]):
    """The recordings of one function of static arrays, each under the key of what it does.

    Attributes:
        counts: hits and misses so far.
    """

    def __init__(self, record: Record) -> None:
        """Begin without recordings.

        Args:
            record: runs a function without any effect that matters and returns what replays it, and what the function
                returned: arrays that each replay fills again.
        """
        self.counts = GraphCounts()
        self._record: Record | None = record
        self._recordings: dict[Hashable, tuple[Callable[[], None], Outcome]] = {}

    def run(self, key: Hashable, step: Callable[[], Outcome], idle: Callable[[], Any], ready: Callable[[], Any]) -> Any:
        """Run a step by its recording, made now if there is none.

        A step that cannot be recorded is an error of ours, but no reason to fail requests: everything runs operation by
        operation then, and from then on.

        Args:
            key: of the recording.
            step: reads and writes static arrays alone.
            idle: puts arrays in place with which a step changes nothing that matters.
            ready: puts those of this step back.

        Returns:
            What the step returned; valid until the next step.
        """
        if key in self._recordings:
            self.counts.hits += 1
        else:
            self.counts.misses += 1
            if self._record is None:
                return step()
            idle()
            try:
                self._recordings[key] = self._record(step)
            except RuntimeError:
                self._record = None
                log.exception("a decode step could not be recorded as a CUDA graph; from now on steps run slower")
            ready()
            if self._record is None:
                return step()
        replay, outcome = self._recordings[key]
        replay()
        return outcome

    def run_without(self, step: Callable[[], Outcome]) -> Outcome:
        """Run a step operation by operation."""
        self.counts.misses += 1
        return step()

    def clear(self) -> None:
        """Free the recordings and their memory."""
        self._recordings.clear()


class CudaRecorder:
    """Records functions as CUDA graphs that share one pool of memory, since one alone runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None

    def __call__(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Warm a function up on a stream of its own and record it; see `Graphs`."""
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    function()
            torch.cuda.current_stream().wait_stream(stream)
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            # Other threads, such as those of other models, may go on using the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outcome = function()
        return graph.replay, outcome


class Mailbox:
    """Brings an array to the host while the device goes on: a copy in pinned memory, and an event when it is there."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        on_cuda = device.type == "cuda"
        self._host = torch.empty(*shape, dtype=dtype, pin_memory=on_cuda)
        self._event = torch.cuda.Event() if on_cuda else None

    def post(self, array: torch.Tensor) -> None:
        """Have the first rows of the mailbox filled, as soon as the device has come so far."""
        self._host[: len(array)].copy_(array, non_blocking=True)
        if self._event is not None:
            self._event.record()

    def read(self, rows: int) -> list[list[int]]:
        """Wait for what was posted last, and return so many of its rows."""
        if self._event is not None:
            self._event.synchronize()
        rows_read: list[list[int]] = self._host[:rows].tolist()
        return rows_read
