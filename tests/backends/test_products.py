"""The product kernel, held to float64: any number of rows, widths that fill no instruction, rows that stay apart."""

import itertools

import pytest
import torch

from server.backends.torch_kernels import load_kernels

ROWS = [1, 2, 12, 13, 16, 17, 32, 33, 96, 97, 130]
SHAPES = list(itertools.product([16, 48, 80, 576], [1, 33, 211]))  # inputs, outputs


@pytest.fixture(autouse=True)
def _kernels(cache_dir):
    if not load_kernels(cache_dir):
        pytest.skip("no C++ compiler here")


def numbers(*shape, dtype, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def multiply(x, weight, *, bias=None, residual=None, as_float=True, quantized=False):
    ops = torch.ops.kelvin
    linear, pack = (ops.linear_int8, ops.pack_int8) if quantized else (ops.linear, ops.pack)
    return linear(x, pack(weight), len(weight), bias, residual, as_float)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_products_are_those_of_float64(dtype, inputs, outputs):
    x, weight = (
        numbers(ROWS[-1], inputs, dtype=dtype, seed=1),
        numbers(outputs, inputs, dtype=dtype, seed=2),
    )
    bias, residual = numbers(outputs, dtype=dtype, seed=3), numbers(ROWS[-1], outputs, dtype=dtype, seed=4)
    exact = x.double() @ weight.double().T
    size = x.double().abs() @ weight.double().abs().T  # of the terms, which bounds what rounding them may do
    for rows in ROWS:
        error = (multiply(x[:rows], weight).double() - exact[:rows]).abs()
        assert (error <= size[:rows] * inputs * 2.0**-24).all()
        summed = multiply(x[:rows], weight, bias=bias, residual=residual[:rows], as_float=False)
        expected = exact[:rows] + bias.double() + residual[:rows].double()
        # one rounding to the type at the end, beside those of the sum
        error = (summed.double() - expected).abs()
        bound = expected.abs() * torch.finfo(dtype).eps + (size[:rows] + 8) * inputs * 2.0**-23
        assert summed.dtype == dtype
        assert (error <= bound).all()


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_rows_have_the_same_bits_alone_in_a_part_of_a_wider_matrix_and_beside_what_is_not_finite(
    dtype, inputs, outputs, quantized
):
    wide = numbers(ROWS[-1], inputs + 16, dtype=dtype, seed=1)
    weight = numbers(outputs, inputs, dtype=dtype, seed=2)
    x = wide[:, :inputs]
    together = multiply(x, weight, quantized=quantized)
    for rows in ROWS:
        assert torch.equal(multiply(x[-rows:].contiguous(), weight, quantized=quantized), together[-rows:])
    wide[:, inputs:] = torch.inf  # what follows a row
    wide[1::3] = torch.nan
    mixed = multiply(x, weight, quantized=quantized)
    finite = torch.arange(len(x)) % 3 != 1
    assert torch.equal(mixed[finite], together[finite])
    assert mixed[~finite].isnan().all()
