"""Kelvin's product in XLA's programs: that of float64, the same bits in any batch, and no harm where it is not."""

from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")

import numpy as np
import tensorflow as tf

from samplers.params import SamplingParams
from server.backends import cpu_library, tensorflow_calls, tensorflow_kernels, tensorflow_packed, tensorflow_plain
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


def product(operators, in_features, out_features, biased, residual, compiled):
    """Return a function of x, the operands that go with it, and its results in float64."""
    draw = np.random.default_rng(in_features + out_features)
    weight, bias, x, added = (
        draw.standard_normal(shape).astype(np.float32)
        for shape in ((out_features, in_features), out_features, (ROWS, in_features), (ROWS, out_features))
    )
    packed = tf.Variable(operators.pack(tf.constant(weight)))
    expected = x.astype(np.float64) @ weight.T + (bias if biased else 0) + (added if residual else 0)

    def multiply(x, added):
        own = tf.constant(bias) if biased else None
        return operators.linear(x, packed, out_features, own, added if residual else None, True)

    signature = [tf.TensorSpec([None, width], tf.float32) for width in (in_features, out_features)]
    traced = tf.function(multiply, input_signature=signature, autograph=False)
    run = tf.function(lambda x, added: traced(x, added), autograph=False, jit_compile=True) if compiled else traced
    return lambda rows: run(tf.constant(x[:rows]), tf.constant(added[:rows])).numpy(), expected


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("in_features", "out_features"), [(7, 211), (64, 48), (33, 5)])
@pytest.mark.parametrize(("operators", "compiled"), [(tensorflow_calls, True), (tensorflow_packed, False)])
def test_the_product_is_that_of_float64(operators, compiled, in_features, out_features, biased, residual):
    run, expected = product(operators, in_features, out_features, biased, residual, compiled)
    np.testing.assert_allclose(run(ROWS), expected, rtol=1e-5, atol=1e-5)


def test_a_row_has_the_same_bits_in_any_batch():
    run, _ = product(tensorflow_calls, 96, 211, True, True, True)
    together = run(ROWS)
    for rows in (1, 2, 5, 12, 13):
        np.testing.assert_array_equal(run(rows), together[:rows])


def test_it_multiplies_float32_on_cpu_alone():
    assert kernels_fit(tf.float32, "cpu")
    assert not kernels_fit(tf.bfloat16, "cpu")
    assert not kernels_fit(tf.float32, "cuda:0")


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
        assert backend._decoder.operators is tensorflow_plain
        backend.admit(0, [5], SamplingParams())
        assert backend.decode([0]).finite == [True]
        backend.close()
