"""Weights of eight bits: what rounding loses, the product against float64, bits that nothing moves, and refusals."""

import random
from itertools import product

import ml_dtypes
import numpy as np
import pytest
import torch

from samplers.params import SamplingParams
from server.backends import torch_plain
from server.backends.quantization import require_supported
from server.backends.torch_kernels import load_kernels
from server.errors import ModelError
from tests.backends.conftest import VOCAB_SIZE, fill

GROUP = 32
SHAPES = [(1, 16), (31, 48), (64, 576), (211, 80), (96, 1536)]  # whole tiles and groups, and neither


@pytest.fixture(params=["kernels", "plain"])
def ops(request, cache_dir):
    if request.param == "plain":
        return torch_plain
    if not load_kernels(cache_dir):
        pytest.skip("no C++ compiler here")
    return torch.ops.kelvin


def normal(*shape, seed, dtype, scale=1.0):
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return torch.from_numpy(values).to(dtype)


def quantized(weight):
    """Round by hand, a weight at a time: what the codes stand for in the weight's type, and the scales, as float64."""
    numbers, scales = np.zeros(weight.shape), np.zeros(weight.shape)
    for row, start in product(range(weight.shape[0]), range(0, weight.shape[1], GROUP)):
        group = weight[row, start : start + GROUP].double().numpy()
        exact = np.float32(np.abs(group).max()) / np.float32(127)
        scale = exact.astype(ml_dtypes.bfloat16)
        if scale < exact:
            scale = np.nextafter(scale, np.array(np.inf, ml_dtypes.bfloat16))
        scale = float(scale)
        scales[row, start : start + GROUP] = scale
        numbers[row, start : start + GROUP] = [round(w / scale) * scale if scale else 0.0 for w in group]
    return torch.from_numpy(numbers).to(weight.dtype).double().numpy(), scales


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_weight_is_rounded_by_half_a_scale_at_most(ops, shape, dtype):
    weight = normal(*shape, seed=1, dtype=dtype)
    weight[0, 0], weight[-1, : min(GROUP, shape[1])] = 30.0, 0.0  # an outlier, and a group without a scale
    numbers, scales = quantized(weight)
    identity = torch.eye(shape[1], dtype=dtype)
    back = ops.linear_int8(identity, ops.pack_int8(weight), shape[0], None, None, True).T.double().numpy()
    np.testing.assert_array_equal(back, numbers)
    again = 0 if dtype == torch.float32 else 2**-8  # a product with bfloat16 takes the nearest bfloat16
    bound = scales / 2 + again * np.abs(back)
    assert (np.abs(back - weight.double().numpy()) <= bound).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_weights_of_any_size_keep_their_digits(ops, scale):
    weight = normal(32, 64, seed=2, dtype=torch.float32, scale=scale)
    back = ops.linear_int8(torch.eye(64), ops.pack_int8(weight), 32, None, None, True).T.numpy()
    np.testing.assert_allclose(back, weight.numpy(), atol=float(weight.abs().max()) / 127)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 12, 13, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_product_is_that_of_the_rounded_weights(ops, shape, rows, dtype):
    weight, x = normal(*shape, seed=3, dtype=dtype), normal(rows, shape[1], seed=4, dtype=dtype)
    bias, residual = normal(shape[0], seed=5, dtype=dtype), normal(rows, shape[0], seed=6, dtype=dtype)
    numbers, packed = quantized(weight)[0], ops.pack_int8(weight)
    products = x.double().numpy() @ numbers.T
    size = np.abs(x.double().numpy()) @ np.abs(numbers).T  # of the terms, to which errors are in proportion
    logits = ops.linear_int8(x, packed, shape[0], None, None, True).double().numpy()
    plain_bf16 = ops is torch_plain and dtype == torch.bfloat16  # rounds the product, and the sum with the residual
    assert (np.abs(logits - products) <= size * (2**-7 if plain_bf16 else 2**-18)).all()
    added = bias.double().numpy() + residual.double().numpy()
    sums = ops.linear_int8(x, packed, shape[0], bias, residual, False)
    assert sums.dtype == dtype
    size += np.abs(bias.double().numpy()) + np.abs(residual.double().numpy())
    bound = size * (2**-18 if dtype == torch.float32 else 2**-6 if plain_bf16 else 2**-8)
    assert (np.abs(sums.double().numpy() - products - added) <= bound).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_has_the_bits_of_the_unquantised_product_of_those_weights_in_any_batch(cache_dir, shape, dtype):
    if not load_kernels(cache_dir):
        pytest.skip("no C++ compiler here: only the kernels promise bits")
    weight, x = normal(*shape, seed=7, dtype=dtype), normal(130, shape[1], seed=8, dtype=dtype)
    ops, packed = torch.ops.kelvin, torch.ops.kelvin.pack_int8(weight)
    numbers = torch.from_numpy(quantized(weight)[0]).to(dtype)
    together = ops.linear(x, ops.pack(numbers), shape[0], None, None, False)
    for count in (1, 2, 3, 5, 8, 11, 12, 13, 24, 25, 96, 97, 130):
        part = ops.linear_int8(x[130 - count :], packed, shape[0], None, None, False)
        assert torch.equal(part, together[130 - count :])


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("trait", ["llama with biases", "gpt2"])
def test_a_model_of_int8_is_the_model_with_rounded_matrices(make_backend, trait, dtype):
    """Bounds the logits, whose size is about 3, by what rounding every weight can do; and it is not the same model."""
    prompt = random.Random(1).choices(range(3, VOCAB_SIZE), k=20)
    logits = {}
    for quantization in ("none", "int8"):
        backend = make_backend(trait, dtype=dtype, quantization=quantization)
        assert backend.quantization == quantization
        fill(backend, 1, prompt)
        backend.admit(1, prompt, SamplingParams())
        logits[quantization] = np.array(backend.logits(1))
    difference = np.abs(logits["int8"] - logits["none"]).max()
    assert 0 < difference < 0.05 * np.abs(logits["none"]).max()


@pytest.mark.parametrize(
    ("framework", "device", "where"), [("tensorflow", "cpu", "tensorflow"), ("torch", "cuda", "torch on cuda")]
)
def test_what_has_no_int8_says_what_has(framework, device, where):
    with pytest.raises(ModelError, match=f"torch on CPU supports and {where} does not.*--quantization none"):
        require_supported("int8", framework, device)
    assert require_supported("none", framework, device) == "none"


def test_tensorflow_refuses_int8(checkpoint, cache_dir):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")
    from server.backends.tensorflow import TensorFlowBackend
    from server.models.load import load_spec
    from server.models.weights import read_weights

    folder = checkpoint("llama")[0]
    spec = load_spec(folder)
    with pytest.raises(ModelError, match="quantization is int8"):
        TensorFlowBackend(spec, read_weights(folder, spec), quantization="int8", cache_dir=cache_dir, compile=False)
