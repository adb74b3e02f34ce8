"""Host memory in pages of 2 MB where the system has them: a step reads 66,000 pages of 4 KB, or 130."""

import mmap
from contextlib import suppress

import torch

Tensor = torch.Tensor

_PAGE = 2 << 20
_REGION = 32 * _PAGE  # what small tensors share; what of it stays unused is never backed by memory
_ALIGNMENT = 64  # a vector, and a line of the cache


class LargePages:
    """Gives out memory for tensors that live as long as a model; a tensor that is dropped gives nothing back alone.

    Every tensor has a storage of its own, so that torch takes none for a view of another.
    """

    def __init__(self) -> None:
        """Begin without memory."""
        self._region: mmap.mmap | None = None
        self._used = 0

    def keep(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor of the host, of any shape and type."""
        copy = self._take(tensor.numel(), tensor.dtype).view(tensor.shape)
        return copy.copy_(tensor)

    def zeros(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Return zeros that are there: the system is not asked for memory when they are first written."""
        return self._take(torch.Size(shape).numel(), dtype).view(shape).zero_()

    def _take(self, count: int, dtype: torch.dtype) -> Tensor:
        if not count:
            return torch.empty(0, dtype=dtype)  # a buffer cannot be read for nothing
        size = count * dtype.itemsize
        if self._region is None or self._used + size > len(self._region):
            self._region, self._used = _map(max(size, _REGION))
        offset, self._used = self._used, self._used + -(-size // _ALIGNMENT) * _ALIGNMENT
        return torch.frombuffer(self._region, dtype=dtype, count=count, offset=offset)


def _map(size: int) -> tuple[mmap.mmap, int]:
    """Map so many bytes from a page's start on; the offset says where that is."""
    region = mmap.mmap(-1, size + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # no such pages on this system: the small ones do as well, slower
        region.madvise(mmap.MADV_HUGEPAGE)
    start = torch.frombuffer(region, dtype=torch.uint8).data_ptr()
    return region, -start % _PAGE
