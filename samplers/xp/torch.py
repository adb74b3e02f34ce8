"""The primitives on torch tensors; each means what its namesake in `numpy.py` says."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

Array = Any

float32, int32 = torch.float32, torch.int32
_INFINITY_BITS = 0x7F800000
_BLOCK = 1024
_kernels: dict[str, Callable[..., Array]] = {}


def exp(x: Array) -> Array:
    """Return e to the power of each element."""
    return torch.exp(x)


def log(x: Array) -> Array:
    """Return the natural logarithm; of 0 it is -inf."""
    return torch.log(x)


def log1p(x: Array) -> Array:
    """Return log(1 + x), exact for small x."""
    return torch.log1p(x)


def sqrt(x: Array) -> Array:
    """Return the square root."""
    return torch.sqrt(x)


def abs(x: Array) -> Array:
    """Return the magnitude of each element."""
    return torch.abs(x)


def divide(x: Array, y: Array) -> Array:
    """Return x / y; overflow is inf and 0 / 0 NaN."""
    return x / y


def power(x: Array, y: Array) -> Array:
    """Return x to the power of y; overflow is inf."""
    return torch.pow(x, y)


def shift_left(x: Array, bits: int) -> Array:
    """Move the bits of int32 to the left."""
    return x << bits


def shift_right(x: Array, bits: int) -> Array:
    """Move the bits of int32 to the right; copies of the sign bit follow."""
    return x >> bits


def where(condition: Array, x: Array, y: Array) -> Array:
    """Choose from x where the condition holds and from y elsewhere; either may be a Python number."""
    return torch.where(condition, x, y)


def minimum(x: Array, y: Array) -> Array:
    """Return the lesser of each pair; y may be a Python number."""
    return torch.minimum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, max=y)


def maximum(x: Array, y: Array) -> Array:
    """Return the greater of each pair; y may be a Python number."""
    return torch.maximum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, min=y)


def isfinite(x: Array) -> Array:
    """Say of each element whether it is neither NaN nor infinite."""
    return torch.isfinite(x)


def max(x: Array) -> Array:
    """Return each row's greatest element, [..., 1]; NaN where the row holds one."""
    return torch.amax(x, dim=-1, keepdim=True)


def sum(x: Array) -> Array:
    """Return each row's sum, [..., 1], the same bits whatever other rows there are."""
    if x.shape[-1] > _BLOCK:  # a long row alone would be split among threads; a block is too short for that
        missing = -x.shape[-1] % _BLOCK
        blocks = (torch.nn.functional.pad(x, (0, missing)) if missing else x).unflatten(-1, (-1, _BLOCK))
        x = torch.sum(blocks, dim=-1, dtype=x.dtype)
    return torch.sum(x, dim=-1, keepdim=True, dtype=x.dtype)


def all(x: Array) -> Array:
    """Say of each row of truth values whether all hold, [..., 1]."""
    return torch.all(x, dim=-1, keepdim=True)


def argmax(x: Array) -> Array:
    """Return the index of each row's greatest element, int32 [...]; the lowest index wins a tie."""
    return torch.argmax(x, dim=-1).to(torch.int32)


def astype(x: Array, dtype: Any) -> Array:
    """Convert each element's value to another type."""
    return x.to(dtype)


def arange(stop: int, like: Array) -> Array:
    """Return 0, 1, …, stop - 1 as int32, on the device of another array."""
    return torch.arange(stop, dtype=torch.int32, device=like.device)


def zeros_like(x: Array) -> Array:
    """Return zeros of the shape and type of another array."""
    return torch.zeros_like(x)


def concat(arrays: Sequence[Array]) -> Array:
    """Join arrays along their last axis."""
    return torch.cat(list(arrays), dim=-1)


def take(x: Array, rows: Array) -> Array:
    """Pick rows of x [rows, ...] by their indices."""
    return x[rows]


def gather(x: Array, indices: Array) -> Array:
    """Take from each row of x [rows, n] the elements at that row's indices, int32 [rows, m]."""
    return torch.gather(x, -1, indices.to(torch.int64))


def scatter(x: Array, indices: Array, values: Array) -> Array:
    """Replace each row's elements of x [rows, n] at its indices; equal ones need equal values, and x is used up."""
    return torch.scatter(x, -1, indices.to(torch.int64), values)


def scatter_min(x: Array, indices: Array, values: Array) -> Array:
    """Lower each row's elements of x [rows, n] at its indices to the least value given for each; x is used up."""
    return torch.scatter_reduce(x, -1, indices.to(torch.int64), values, "amin")


def use_kernels(kernels: dict[str, Callable[..., Array]]) -> None:
    """Let kernels compute functions of CPU tensors from now on.

    Args:
        kernels: by the names that `kernel` is asked for: `gumbel_noise` as in noise.py; `process` and `draw` of logits
            and the arrays of `SamplingState.processing` and `.drawing`, returning logits and the arrays of `Sampled`;
            `append` of the arrays of a `History` and token ids, returning the former.
    """
    _kernels.clear()
    _kernels.update({name: _of_contiguous(kernel) for name, kernel in kernels.items()})


def _of_contiguous(kernel: Callable[..., Array]) -> Callable[..., Array]:
    """Let a kernel that reads memory in order take tensors that lie otherwise, such as columns."""

    def call(*arguments: Any) -> Array:
        return kernel(*(x.contiguous() if isinstance(x, torch.Tensor) else x for x in arguments))

    return call


def kernel(name: str, like: Array) -> Callable[..., Array] | None:
    """Return a kernel that computes what its name says for arrays like this one, or None where there is none."""
    return _kernels.get(name) if like.device.type == "cpu" else None


def weighted_quantile(x: Array, weights: Array | None, target: Array) -> Array:
    """Find each row's least bound t such that the weights of the elements x ≤ t sum to the target or more."""
    order = x.view(torch.int32)
    low = torch.zeros_like(order[:, :1])
    for i in range(31):
        middle = low + ((1 << (30 - i)) - 1)
        within = torch.where(order <= middle, 1.0 if weights is None else weights, 0.0)
        low = torch.where(sum(within) >= target, low, middle + 1)
    return torch.clamp(low, max=_INFINITY_BITS).view(torch.float32)
