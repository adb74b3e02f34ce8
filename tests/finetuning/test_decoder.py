"""Decoders that are trained: gradients against transformers and peft, steps in both frameworks, and that they learn."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from server.finetuning.training.decoder import ADAPTER_SCALE, initial_decoder_weights, read_body
from server.finetuning.training.feed import training_feeds
from server.finetuning.training.network import network_for
from server.finetuning.training.optimizer import Optimizer
from server.finetuning.training.trainer import Batch
from server.finetuning.training.trainers import new_trainer
from tests.backends.checkpoints import VOCAB_SIZE, write_checkpoint
from tests.finetuning.digits import FRAMEWORKS, a_plan

CLASSES = 3
METHODS = ("lora", "full")
PEFT_NAMES = {"qkv": "self_attn.qkv_proj", "out": "self_attn.o_proj", "up": "mlp.gate_up_proj", "down": "mlp.down_proj"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a writer of tiny checkpoints by case: their folders and transformers' models; each is made once."""
    made = {}

    def write(case):
        if case not in made:
            folder = tmp_path_factory.mktemp("checkpoint")
            made[case] = folder, write_checkpoint(case, folder)
        return made[case]

    return write


def texts(rows=6, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.integers(3, VOCAB_SIZE, length).astype(np.int32) for length in (5, 17, 1, 33, 0, 9)[:rows]]


def a_batch(rows=6):
    weights = np.linspace(0.5, 2, 6).astype(np.float32)
    return Batch(texts(rows), np.array([0, 1, 2, 0, 1, 2])[:rows], weights[:rows])


def a_trainer(framework, method, folder, *, start=None, dropout=0.1, optimizer=None, dtype="float32", **options):
    """Return a trainer of all blocks in float32, whose adapters do something from the start unless `start` says so."""
    network = network_for(method, (VOCAB_SIZE,), CLASSES).model_copy(update={"depth": 1.0, "dropout": dropout})
    body = read_body(folder, network)
    weights = initial_decoder_weights(network, body, 0) if start is None else start
    if method == "lora" and start is None:
        noise = np.random.default_rng(1)
        weights |= {
            name: noise.normal(0, 0.1, value.shape).astype(np.float32)
            for name, value in weights.items()
            if name.endswith("lora_b")
        }
    if framework == "torch":
        from server.finetuning.training.torch_decoder import TorchDecoderTrainer as Trainer
    else:
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")
        from server.finetuning.training.tensorflow_decoder import TensorFlowDecoderTrainer as Trainer
    settings = {"batch_size": 6, "body": body, "dtype": dtype, "device": "cpu"}
    return Trainer(network, weights, optimizer or Optimizer(), **settings | options)


def reference_logits(base, weights, inputs):
    """Return the logits that transformers' blocks give, row by row: float32 [rows, classes], with gradients."""
    states = []
    last = base.h[-1] if hasattr(base, "h") else base.layers[-1]
    hook = last.register_forward_hook(
        lambda *call: states.append(call[2][0] if isinstance(call[2], tuple) else call[2])
    )
    pooled = []
    for text in inputs:
        if not len(text):
            pooled.append(torch.zeros(base.config.hidden_size))
            continue
        base(torch.from_numpy(text)[None].long())
        state = states.pop().reshape(len(text), -1)
        pooled.append(functional.rms_norm(state, state.shape[-1:], eps=1e-5).mean(0))
    hook.remove()
    head = torch.from_numpy(weights["head.weight"]), torch.from_numpy(weights["head.bias"])
    return functional.linear(torch.stack(pooled), *head)


def gradients_of(trainer, batch, temperature):
    """Return what one plain step of rate 1 takes away from each weight."""
    before = trainer.weights()
    trainer.step(batch, temperature=temperature, learning_rate=1.0, seed=0)
    return {name: before[name] - after for name, after in trainer.weights().items()}


def reference_loss(base, weights, batch, temperature):
    logits = reference_logits(base, weights, batch.inputs) / temperature
    losses = functional.cross_entropy(logits, torch.from_numpy(batch.labels), reduction="none")
    shares = torch.from_numpy(batch.weights) / batch.weights.sum()
    return (losses * shares).sum()


def assert_close(ours, theirs, name):
    scale = np.abs(theirs).max()
    assert scale > 0, name
    assert np.abs(ours - theirs).max() < 2e-3 * scale + 1e-7, name


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_adapters_have_the_gradients_of_peft(framework, written):
    """phi3 keeps query, key and value in one matrix, and gate and up, as the decoder here does."""
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install -e '.[dev]'")
    folder, model = written("phi3")
    trainer = a_trainer(framework, "lora", folder, dropout=0.0, optimizer=Optimizer(kind="sgd"))
    weights, batch = trainer.weights(), a_batch()
    rank = weights["layers.0.qkv.lora_a"].shape[0]
    targets = [name.partition(".")[2] for name in PEFT_NAMES.values()]
    config = peft.LoraConfig(r=rank, lora_alpha=int(ADAPTER_SCALE * rank), target_modules=targets)
    adapted = peft.inject_adapter_in_model(config, copy.deepcopy(model.base_model)).eval()
    layers, pairs = adapted.layers, {}
    for number, (matrix, path) in itertools.product(range(len(layers)), PEFT_NAMES.items()):
        module = layers[number].get_submodule(path)
        for letter, theirs in (("a", module.lora_A), ("b", module.lora_B)):
            name = f"layers.{number}.{matrix}.lora_{letter}"
            pairs[name] = theirs["default"].weight
            pairs[name].data.copy_(torch.from_numpy(weights[name]))
    logits = reference_logits(adapted, weights, batch.inputs)
    np.testing.assert_allclose(trainer.logits(batch.inputs), logits.detach().numpy(), atol=1e-4)
    reference_loss(adapted, weights, batch, 1.5).backward()
    gradients = gradients_of(trainer, batch, 1.5)
    for name, theirs in pairs.items():
        assert_close(gradients[name], theirs.grad.numpy(), name)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", ["llama with biases, gelu", "gpt2"])
def test_a_whole_model_has_the_gradients_of_transformers(framework, case, written):
    folder, model = written(case)
    trainer = a_trainer(framework, "full", folder, dropout=0.0, optimizer=Optimizer(kind="sgd"))
    weights, batch, base = trainer.weights(), a_batch(), model.base_model
    model.zero_grad()
    loss = reference_loss(base, weights, batch, 0.7)
    loss.backward()
    figures = trainer.step(batch, temperature=0.7, learning_rate=0.0, seed=0)
    assert figures.loss == pytest.approx(loss.item(), abs=1e-5)
    gradients = gradients_of(trainer, batch, 0.7)
    if case == "gpt2":
        block = base.h[1]
        theirs = {"qkv": block.attn.c_attn.weight.grad.T, "down_bias": block.mlp.c_proj.bias.grad}
        theirs |= {"mlp_norm": block.ln_2.weight.grad}
        assert_close(gradients["positions"], base.wpe.weight.grad.numpy(), "positions")
        embedding = base.wte.weight.grad
    else:
        block = base.layers[1]
        attention = block.self_attn
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        theirs = {
            "qkv": torch.cat([part.weight.grad for part in projections]),
            "qkv_bias": torch.cat([part.bias.grad for part in projections]),
            "up": torch.cat([block.mlp.gate_proj.weight.grad, block.mlp.up_proj.weight.grad]),
            "attention_norm": block.input_layernorm.weight.grad,
        }
        embedding = base.embed_tokens.weight.grad
    assert_close(gradients["embedding"], embedding.numpy(), "embedding")
    for name, gradient in theirs.items():
        assert_close(gradients[f"layers.1.{name}"], gradient.numpy(), name)


@pytest.mark.parametrize("method", METHODS)
def test_both_frameworks_take_the_same_steps(method, written):
    folder, _ = written("gemma2")
    settings = {"optimizer": Optimizer(weight_decay=0.1, max_grad_norm=0.5), "label_smoothing": 0.1, "accumulate": 2}
    ours, theirs = (a_trainer(framework, method, folder, **settings) for framework in FRAMEWORKS)
    assert ours.num_parameters == theirs.num_parameters
    for step in range(4):
        asked = {"temperature": 1.0 + 0.2 * step, "learning_rate": 0.002, "seed": step}
        one, other = ours.step(a_batch(), **asked), theirs.step(a_batch(), **asked)
        assert one.loss == pytest.approx(other.loss, abs=1e-4)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=5e-3)
    np.testing.assert_allclose(ours.logits(texts()), theirs.logits(texts()), atol=5e-3)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_a_state_that_was_taken_over_goes_on_to_the_bit(framework, method, written):
    folder, _ = written("llama")
    first, second = (a_trainer(framework, method, folder) for _ in range(2))
    asked = {"temperature": 1.0, "learning_rate": 0.01}
    for step in range(2):
        first.step(a_batch(), seed=step, **asked)
    second.load_state(first.state())
    for trainer in (first, second):
        trainer.step(a_batch(5), seed=9, **asked)
    for name, values in first.state().items():
        np.testing.assert_array_equal(values, second.state()[name], err_msg=name)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_is_the_same_bits_every_time(framework, method, written):
    """Rows long enough that a framework's threads finish in any order; what they add up must not depend on it."""
    draw = np.random.default_rng(0)
    rows = [draw.integers(3, VOCAB_SIZE, 60).astype(np.int32) for _ in range(16)]
    batch = Batch(rows, np.arange(16) % CLASSES, np.ones(16, np.float32))
    trainer = a_trainer(framework, method, written("llama")[0], batch_size=16)
    (feed,) = training_feeds(trainer._network, batch, seed=0, rows=16, pieces=1)
    _, first = trainer._gradients(feed, 1.0)
    for _ in range(12):
        for one, again in zip(first, trainer._gradients(feed, 1.0)[1], strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(again))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_adapters_start_from_the_served_model_and_leave_it_alone(framework, written):
    folder, model = written("llama")
    network = network_for("lora", (VOCAB_SIZE,), CLASSES).model_copy(update={"depth": 1.0})
    start = initial_decoder_weights(network, read_body(folder, network), 0)
    trainer = a_trainer(framework, "lora", folder, start=start)
    logits = reference_logits(model.base_model, start, texts()).detach().numpy()
    np.testing.assert_allclose(trainer.logits(texts()), logits, atol=1e-4)
    for step in range(3):
        trainer.step(a_batch(), temperature=1.0, learning_rate=0.05, seed=step)
    assert np.abs(trainer.logits(texts()) - logits).max() > 0.01
    trainer.load_weights(start)
    np.testing.assert_allclose(trainer.logits(texts()), logits, atol=1e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_dropout_depends_on_the_seed_alone(framework, written):
    folder, _ = written("llama")
    losses = [
        a_trainer(framework, "lora", folder).step(a_batch(), temperature=1.0, learning_rate=0.0, seed=seed).loss
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_a_word_that_decides_is_learned(framework, method, written):
    """Whether one of two tokens comes before the other: no bag of words can tell."""
    draw, rows, labels = np.random.default_rng(0), [], []
    for number in range(320):
        text = draw.integers(10, 60, 8).astype(np.int32)
        first, second = sorted(draw.choice(8, 2, replace=False))
        text[first], text[second] = (5, 6) if number % 2 else (6, 5)
        rows.append(text)
        labels.append(number % 2)
    labels, folder = np.array(labels), written("llama")[0]
    trainer = a_trainer(framework, method, folder, batch_size=32)
    for step in range(120):
        some = draw.choice(240, 32, replace=False)
        batch = Batch([rows[row] for row in some], labels[some], np.ones(32, np.float32))
        trainer.step(batch, temperature=1.0, learning_rate=0.01, seed=step)
    hits = trainer.logits(rows[240:]).argmax(1) == labels[240:]
    assert hits.mean() > 0.95


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_plan_becomes_a_trainer_of_half_the_blocks_or_all(framework, written):
    folder, _ = written("llama")
    for method, depth in (("lora", 1), ("full", 2)):
        plan = a_plan(framework, method, model_dir=folder)
        trainer = new_trainer(plan, network_for(method, (VOCAB_SIZE,), CLASSES))
        numbers = {name.split(".")[1] for name in trainer.weights() if name.startswith("layers.")}
        assert numbers == {str(number) for number in range(depth)}
        assert trainer.num_parameters == sum(weight.size for weight in trainer.weights().values())
        assert np.isfinite(trainer.step(a_batch(), temperature=1.0, learning_rate=0.01, seed=0).loss)
