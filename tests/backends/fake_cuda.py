"""A CUDA device of shapes alone: where tensors of no contents live, and what would wait or mix devices is an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from server.backends import torch as torch_backend
from server.backends import torch_graphs


class _WithoutGuards(TorchFunctionMode):
    """Writes what asks for the device itself, which a build without CUDA has not, as operators that do not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__getitem__:
            return _get(*args)
        if func is torch.Tensor.__setitem__:
            return _set(*args)
        if func is torch.Tensor.__invert__:
            return torch.ops.aten.bitwise_not.default(*args)
        if func is torch.Tensor.copy_ and args[0].device.type == "cuda":
            return _fill(*args[:2])
        return func(*args, **(kwargs or {}))


def _get(x: torch.Tensor, index: Any) -> torch.Tensor:
    x, picked = _slice(x, index)
    return torch.ops.aten.index.Tensor(x, picked) if picked else x


def _set(x: torch.Tensor, index: Any, value: Any) -> None:
    x, picked = _slice(x, index)
    if not picked:
        _fill(x, value)
    else:
        torch.ops.aten.index_put_(x, picked, torch.as_tensor(value, dtype=x.dtype))


def _fill(x: torch.Tensor, value: Any) -> torch.Tensor:
    """Check that a value can be written to an array; of contents there are none."""
    if isinstance(value, torch.Tensor):
        value = value.clone()  # a constant would be moved with its contents, for which there is no device
        value.constant = None
        value.to(x.device, x.dtype).expand(x.shape)
    return x


def _slice(x: torch.Tensor, index: Any) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Apply what is no array, and return the arrays at their dimensions."""
    index = index if isinstance(index, tuple) else (index,)
    if ... in index:
        at, taken = index.index(...), sum(own is not None and own is not ... for own in index)
        index = (*index[:at], *[slice(None)] * (x.ndim - taken), *index[at + 1 :])
    picked: list[torch.Tensor | None] = []
    dim = 0
    for own in index:
        if own is None:
            x = x.unsqueeze(dim)
        elif isinstance(own, int):
            x = x.select(dim, own)
            continue
        elif isinstance(own, slice) and own != slice(None):
            x = torch.ops.aten.slice.Tensor(x, dim, own.start, own.stop, own.step or 1)
        picked.append(own if isinstance(own, torch.Tensor) else None)
        dim += 1
    return x, picked if any(own is not None for own in picked) else []


class OnDevice(TorchDispatchMode):
    """Refuses what is not on CUDA throughout: a graph would hold what the host had when it was recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outcome = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves((args, kwargs, outcome)):
            if isinstance(leaf, torch.Tensor):
                assert leaf.device.type == "cuda", f"{func} sees an array on {leaf.device}"
        self.operations += 1
        return outcome


class _Event:
    def record(self) -> None:
        """Do nothing: nothing runs."""


@contextmanager
def fake_cuda(patch: pytest.MonkeyPatch, *, capability: tuple[int, int]) -> Iterator[None]:
    """Pretend that a CUDA device is there; what is asked of it has a shape and no contents."""
    patch.setattr(torch_backend, "pick_device", torch.device)
    patch.setattr(torch_backend, "capability_of", lambda device: capability)
    patch.setattr(torch_graphs.torch.cuda, "Event", _Event)
    with FakeTensorMode(), _WithoutGuards(), torch.inference_mode():
        yield
