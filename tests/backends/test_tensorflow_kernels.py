"""Kelvin's kernels in TensorFlow, at once and in XLA's programs: the numbers of float64, the same bits in any batch."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")

import numpy as np
import tensorflow as tf

from samplers.params import SamplingParams
from server.backends import cpu_library, tensorflow_calls, tensorflow_kernels, tensorflow_plain
from server.backends.tensorflow import TensorFlowBackend
from server.backends.tensorflow_kernels import kernels_fit, load_kernels
from server.models.load import load_spec
from server.models.weights import read_weights
from tests.backends.checkpoints import MAX_LENGTH, write_checkpoint

ROWS = 14  # more than the product has in registers at once


@pytest.fixture(scope="module", autouse=True)
def _kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    if not load_kernels(tmp_path_factory.mktemp("cache")):
        pytest.skip("no C++ compiler here")


def in_a_program(function, *inputs):
    """Return a function as an XLA program for any number of rows, as steps are compiled."""
    signature = [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in inputs]
    traced = tf.function(function, input_signature=signature, autograph=False)
    return tf.function(lambda *arrays: traced(*arrays), autograph=False, jit_compile=True)


def product(in_features, out_features, biased, residual, compiled):
    """Return a function of a number of rows, and the results of all rows in float64."""
    draw = np.random.default_rng(in_features + out_features)
    weight, bias, x, added = (
        draw.standard_normal(shape).astype(np.float32)
        for shape in ((out_features, in_features), out_features, (ROWS, in_features), (ROWS, out_features))
    )
    packed = tf.Variable(tensorflow_calls.pack(tf.constant(weight)))
    expected = x.astype(np.float64) @ weight.T + (bias if biased else 0) + (added if residual else 0)

    def multiply(x, added):
        own = tf.constant(bias) if biased else None
        return tensorflow_calls.linear(x, packed, out_features, own, added if residual else None, True)

    run = in_a_program(multiply, x, added) if compiled else multiply
    return lambda rows: run(tf.constant(x[:rows]), tf.constant(added[:rows])).numpy(), expected


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("in_features", "out_features"), [(7, 211), (64, 48), (33, 5)])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_product_is_that_of_float64(compiled, in_features, out_features, biased, residual):
    run, expected = product(in_features, out_features, biased, residual, compiled)
    np.testing.assert_allclose(run(ROWS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_row_has_the_same_bits_in_any_batch(compiled):
    run, _ = product(96, 211, True, True, compiled)
    together = run(ROWS)
    for rows in (1, 2, 5, 12, 13):
        np.testing.assert_array_equal(run(rows), together[:rows])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_norms_are_those_of_float64(compiled, centred, biased):
    chance = np.random.default_rng(1)
    x, weight, bias = (chance.standard_normal(shape).astype(np.float32) for shape in ((ROWS, 48), 48, 48))
    wide = x.astype(np.float64)
    wide = wide - wide.mean(1, keepdims=True) if centred else wide
    expected = wide / np.sqrt((wide**2).mean(1, keepdims=True) + 1e-5) * weight + (bias if biased else 0)

    def normalize(x):
        return tensorflow_calls.normalize(x, weight_, tf.constant(bias) if biased else None, 1e-5, centred)

    weight_ = tf.constant(weight)
    run = in_a_program(normalize, x) if compiled else normalize
    np.testing.assert_allclose(run(tf.constant(x)).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh", "relu", "tanh"])
def test_activations_are_those_of_plain_tensorflow(compiled, gated, name):
    x = np.random.default_rng(2).standard_normal((ROWS, 64)).astype(np.float32) * 3
    expected = tensorflow_plain.activate(tf.constant(x), name, gated)

    def activate(x):
        return tensorflow_calls.activate(x, name, gated)

    run = in_a_program(activate, x) if compiled else activate
    np.testing.assert_allclose(run(tf.constant(x)).numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)


def test_a_kernel_that_refuses_its_operands_says_so():
    with pytest.raises(RuntimeError, match="the kernel pack failed: a result has another shape"):
        tensorflow_kernels.call("pack", [tf.zeros([3, 4])], [((5,), tf.float32)])


def test_kernels_run_float32_on_cpu_alone_and_whole_vectors(tmp_path: Path):
    write_checkpoint("llama", tmp_path)
    spec = load_spec(tmp_path)
    assert kernels_fit(spec, tf.float32, "cpu")
    assert not kernels_fit(spec, tf.bfloat16, "cpu")
    assert not kernels_fit(spec, tf.float32, "cuda:0")
    assert not kernels_fit(replace(spec, hidden_size=40), tf.float32, "cpu")


def test_without_a_compiler_the_backend_is_plain_and_says_so_once(tmp_path: Path, monkeypatch, caplog):
    write_checkpoint("llama", tmp_path)
    spec = load_spec(tmp_path)
    monkeypatch.setattr(cpu_library.shutil, "which", lambda name: None)
    tensorflow_kernels.load_kernels.cache_clear()
    options = {"num_slots": 1, "max_length": MAX_LENGTH, "compile": False, "cache_dir": tmp_path}
    try:
        backends = [TensorFlowBackend(spec, read_weights(tmp_path, spec), **options) for _ in range(2)]
    finally:
        tensorflow_kernels.load_kernels.cache_clear()
    assert caplog.text.count("runs in plain TensorFlow, slower; install g++ and restart") == 1
    for backend in backends:
        assert backend._decoding._decoder.operators is tensorflow_plain
        backend.admit(0, [5], SamplingParams())
        assert backend.decode([0]).finite == [True]
        backend.close()
