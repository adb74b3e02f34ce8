"""Memory in large pages: what is kept, where it lies, and that it is nobody else's."""

import gc

import pytest
import torch

from server.backends.torch_pages import LargePages


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.uint8])
def test_keeps_shape_type_and_values(dtype):
    pages = LargePages()
    tensors = [torch.arange(n * 5, dtype=torch.float32).view(n, 5).to(dtype) for n in (0, 1, 7, 300)]
    kept = [pages.keep(tensor) for tensor in tensors]
    for tensor, copy in zip(tensors, kept, strict=True):
        assert torch.equal(tensor, copy)
        assert copy.dtype == dtype
        assert copy.is_contiguous()
        assert copy.data_ptr() % 64 == 0


def test_tensors_do_not_share_storage():
    pages = LargePages()
    first, second = pages.keep(torch.ones(3)), pages.zeros(2, 3, dtype=torch.float32)
    assert first.untyped_storage().data_ptr() != second.untyped_storage().data_ptr()
    second.fill_(2.0)
    assert first.tolist() == [1.0, 1.0, 1.0]


def test_what_is_larger_than_a_region_begins_a_page():
    pages = LargePages()
    small, large = pages.keep(torch.ones(1)), pages.zeros(70, 1 << 20, dtype=torch.uint8)
    assert large.data_ptr() % (2 << 20) == 0
    assert int(large.max()) == 0
    assert small.item() == 1.0


def test_memory_outlives_what_gave_it():
    copy = LargePages().keep(torch.arange(10))
    gc.collect()
    assert copy.tolist() == list(range(10))
