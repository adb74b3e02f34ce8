"""CUDA graphs on a CPU: every operation with the very arrays it had, run again on what those arrays hold by then.

Like a real graph, a recording knows no Python: a number that the host computed is what it was when it was recorded, and
an array that is not at its old place is not seen. What a graph may not do, waiting for an array's value, is an error.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "repeat_interleave.Tensor"}


class Recording(TorchDispatchMode):
    """Notes what is run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in _WAITS or f"{name}.{func._overloadname}" in _WAITS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        outcome = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, outcome))
        return outcome

    def replay(self) -> None:
        """Run everything again, each result to where the first one was."""
        for func, args, kwargs, before in self.calls:
            after = func(*args, **kwargs)
            for old, new in zip(pytree.tree_leaves(before), pytree.tree_leaves(after), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Recorder:
    """Makes recordings as `CudaRecorder` does: two runs to warm up, one to record.

    Attributes:
        runs: of functions so far, warm-ups included.
        recordings: made so far.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.recordings = 0

    def __call__(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        for _ in range(2):
            function()
        with Recording() as recording:
            outcome = function()
        self.runs += 3
        self.recordings += 1
        return recording.replay, outcome
