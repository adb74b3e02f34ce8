"""Embedders against transformers' hidden states, float32: traits of families, rows of any length, both frameworks."""

import random

import numpy as np
import pytest
import torch

from server.backends import load_embedder, pooling, torch_embedder
from server.errors import ModelError
from server.models.load import load_spec
from server.models.weights import read_weights
from tests.backends.checkpoints import MAX_LENGTH, VOCAB_SIZE, write_checkpoint

TOLERANCE = 1e-3
LENGTHS = (5, 1, 0, 40, 17, 16, MAX_LENGTH + 9, 3)
FAMILIES = (
    "llama with biases, gelu",
    "mistral sliding",
    "qwen3",
    "smollm3",
    "phi3 sliding, partly rotary",
    "gemma2",
    "gpt2",
    "gpt_neox",
    "opt",
)


def rows(lengths=LENGTHS, seed=0):
    draw = random.Random(seed)
    return [draw.choices(range(3, VOCAB_SIZE), k=length) for length in lengths]


@torch.no_grad()
def expected(model, token_ids, layers):
    """Pool what transformers says of each row alone, from a hook on each block: float64 [rows, width]."""
    if not token_ids:
        return np.zeros(model.config.hidden_size * len(layers))
    base = model.base_model
    blocks = base.h if hasattr(base, "h") else base.layers if hasattr(base, "layers") else base.decoder.layers
    seen = {}

    def remember(number):
        def hook(module, inputs, output):
            seen[number] = output[0] if isinstance(output, tuple) else output
            if number == 1:
                seen[0] = inputs[0]

        return hook

    hooks = [block.register_forward_hook(remember(number + 1)) for number, block in enumerate(blocks)]
    model(torch.tensor([token_ids]))
    for hook in hooks:
        hook.remove()
    states = [seen[layer].reshape(len(token_ids), -1).double().numpy() for layer in layers]
    scaled = [state / np.sqrt((state**2).mean(-1, keepdims=True) + 1e-5) for state in states]
    return np.concatenate([state.mean(0) for state in scaled])


@pytest.fixture(params=["kernels", "plain", "tensorflow"])
def make(request, monkeypatch, cache_dir):
    """Return a maker of embedders in float32: torch with Kelvin's kernels, torch without, TensorFlow."""
    framework = "torch" if request.param != "tensorflow" else request.param
    if framework == "tensorflow":
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")
    if request.param == "plain":
        monkeypatch.setattr(torch_embedder, "load_kernels", lambda cache_dir: False)

    def make(folder, **options):
        spec = load_spec(folder)
        defaults = {"dtype": "float32", "cache_dir": cache_dir}
        return load_embedder(framework, spec, read_weights(folder, spec), **defaults | options)

    return make


@pytest.mark.parametrize("case", FAMILIES)
def test_vectors_are_the_pooled_hidden_states_of_transformers(case, make, tmp_path, monkeypatch):
    monkeypatch.setattr(pooling, "BATCH_TOKENS", 70)  # several batches, the longest rows alone
    model, texts = write_checkpoint(case, tmp_path), rows()
    embedder = make(tmp_path, layers=(2, 0, 1))
    pooled = embedder.pool(texts)
    assert pooled.dtype == np.float32
    assert pooled.shape == (len(texts), embedder.width)
    wanted = np.stack([expected(model, text[:MAX_LENGTH], (0, 1, 2)) for text in texts])
    assert np.abs(pooled - wanted).max() < TOLERANCE * np.abs(wanted).max()


def test_what_is_beyond_the_maximal_length_is_not_read(make, tmp_path):
    write_checkpoint("llama", tmp_path)
    embedder = make(tmp_path, max_length=6)
    long, short = rows((30,))[0], rows((4,), seed=1)[0]
    assert (embedder.pool([long, short]) == embedder.pool([long[:6], short])).all()


def test_no_rows_have_no_vectors(make, tmp_path):
    write_checkpoint("gpt2", tmp_path)
    embedder = make(tmp_path)
    assert embedder.pool([]).shape == (0, embedder.width)


def test_embeddings_and_lower_blocks_are_read(make, checkpoint):
    folder, model = checkpoint("llama")
    embedder = make(folder)
    assert embedder.layers == (0, 1)
    text = rows((20,))[0]
    wanted = expected(model, text, (0, 1))
    assert np.abs(embedder.pool([text])[0] - wanted).max() < TOLERANCE * np.abs(wanted).max()


def test_a_row_has_the_same_bits_whatever_is_read_with_it(checkpoint, cache_dir):
    """With Kelvin's kernels, in the type that is served."""
    spec = load_spec(checkpoint("llama")[0])
    weights = read_weights(checkpoint("llama")[0], spec)
    texts = rows([*range(1, 60), 300, 250, 200, 130, 129, 128])
    for dtype in ("float32", "bfloat16"):
        embedder = load_embedder("torch", spec, weights, dtype=dtype, layers=(1, 3), cache_dir=cache_dir)
        together = embedder.pool(texts)
        for number in (0, 7, 31, 58, 59, 62, 64):
            assert (embedder.pool([texts[number]])[0] == together[number]).all()


def test_progress_is_told_and_what_it_raises_ends_the_work(make, tmp_path, monkeypatch):
    monkeypatch.setattr(pooling, "BATCH_TOKENS", 32)
    write_checkpoint("llama", tmp_path)
    embedder, fractions = make(tmp_path), []
    embedder.pool(rows(), lambda what, fraction: fractions.append(fraction))
    assert len(fractions) > 2
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0

    def stop(what, fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedder.pool(rows(), stop)


@pytest.mark.parametrize("layers", [(-1,), (3,), ()])
def test_a_layer_that_is_not_there_is_a_clear_error(layers, make, tmp_path):
    write_checkpoint("llama", tmp_path)
    with pytest.raises(ModelError, match="layers must be numbers from 0 to 2"):
        make(tmp_path, layers=layers)
