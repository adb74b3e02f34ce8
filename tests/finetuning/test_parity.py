"""The same training in torch and in TensorFlow, and the same step in pieces."""

import itertools

import numpy as np
import pytest

from samplers.calibration import accuracy
from server.finetuning.training.network import initial_weights, network_for
from server.finetuning.training.optimizer import Optimizer
from server.finetuning.training.trainer import Batch, split_state
from tests.finetuning.digits import FRAMEWORKS, a_batch, a_network, a_trainer, digit_rows

TEXTS = [np.array(text, np.int32) for text in ([1, 2, 2, 5], [], [7], list(range(30)), [3, 3], [9, 8, 7, 6, 5])]


def text_batch(rows=6):
    return Batch(TEXTS[:rows], np.array([0, 1, 2, 0, 1, 2])[:rows], np.linspace(0.5, 2, rows).astype(np.float32))


def networks():
    """Return a network of each kind, with all that is optional, and a batch for it."""
    text = a_network(kind="dan", inputs=(40,), classes=3, embedding=8, hidden=(8, 8), dropout=0.3, token_dropout=0.3)
    image = a_network(kind="cnn", inputs=(8, 8, 1), channels=(4, 6), hidden=(16,), dropout=0.3)
    line = a_network(kind="cnn", inputs=(1, 64, 1), channels=(4,), hidden=(8,))
    return [(text, text_batch()), (image, a_batch()), (line, a_batch())]


@pytest.mark.parametrize(("network", "batch"), networks(), ids=["text", "image", "line"])
def test_both_frameworks_take_the_same_steps(network, batch):
    settings = {"optimizer": Optimizer(weight_decay=0.1, max_grad_norm=0.5), "label_smoothing": 0.1, "accumulate": 2}
    torch, tensorflow = (a_trainer(framework, network, **settings) for framework in FRAMEWORKS)
    for step in range(8):
        asked = {"temperature": 1.0 + 0.1 * step, "learning_rate": 0.01, "seed": step}
        ours, theirs = torch.step(batch, **asked), tensorflow.step(batch, **asked)
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-5)
        assert ours.loss_at_one == pytest.approx(theirs.loss_at_one, abs=1e-5)
        assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-3)
    np.testing.assert_allclose(torch.logits(batch.inputs), tensorflow.logits(batch.inputs), atol=1e-3)


def test_both_frameworks_learn_digits_alike():
    inputs, labels = digit_rows()
    trainers = [a_trainer(framework, network_for("mlp", (64,), 10)) for framework in FRAMEWORKS]
    for step, trainer in itertools.product(range(150), trainers):
        trainer.step(a_batch(start=32 * step % 1200), temperature=1.5, learning_rate=0.003, seed=step)
    ours, theirs = (accuracy(trainer.logits(inputs[1300:]), labels[1300:]) for trainer in trainers)
    assert ours > 0.9
    assert abs(ours - theirs) <= 0.01


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_step_in_pieces_is_the_same_step(framework):
    network, batch = networks()[0]
    whole, pieces = (a_trainer(framework, network, accumulate=number) for number in (1, 5))
    for step in range(3):
        asked = {"temperature": 2.0, "learning_rate": 0.01, "seed": step}
        ours, theirs = whole.step(batch, **asked), pieces.step(batch, **asked)
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-6)
    for name, weight in whole.weights().items():
        np.testing.assert_allclose(weight, pieces.weights()[name], atol=2e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_state_that_was_taken_over_goes_on_to_the_bit(framework):
    network = a_network(dropout=0.2)
    first, second = a_trainer(framework, network), a_trainer(framework, network)
    asked = {"temperature": 1.0, "learning_rate": 0.01}
    for step in range(3):
        first.step(a_batch(), seed=step, **asked)
    second.load_state(first.state())
    for trainer in (first, second):
        trainer.step(a_batch(start=32), seed=9, **asked)
    for name, values in first.state().items():
        np.testing.assert_array_equal(values, second.state()[name])
    weights, moments, steps = split_state(first.state())
    assert steps == 4
    assert set(weights) == set(moments)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_state_is_a_copy(framework):
    trainer = a_trainer(framework, a_network())
    before = {name: values.copy() for name, values in trainer.state().items()}
    held = trainer.state()
    trainer.step(a_batch(), temperature=1.0, learning_rate=0.1, seed=0)
    for name, values in held.items():
        np.testing.assert_array_equal(values, before[name])


def test_tensorflow_traces_each_program_once_whatever_temperature_rate_and_rows_do():
    network, batch = networks()[0]
    trainer = a_trainer("tensorflow", network)
    trainer.logits(batch.inputs)
    for step in range(6):
        trainer.step(text_batch(6 - step % 3), temperature=1.0 + step, learning_rate=0.1 / (1 + step), seed=step)
    trainer.logits(batch.inputs[:2])
    assert trainer.traces == 3  # logits, gradients, move
    losses = {trainer.step(batch, temperature=t, learning_rate=0.0, seed=0).loss for t in (0.5, 1.0, 2.0)}
    assert len(losses) == 3  # the temperature is not baked in


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_text_without_known_tokens_has_the_logits_of_an_empty_mean(framework):
    network, _ = networks()[0]
    logits = a_trainer(framework, network).logits(TEXTS)
    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(logits[1], np.zeros(3, np.float32))  # biases begin at 0
    alone = a_trainer(framework, network).logits(TEXTS[3:4])
    np.testing.assert_allclose(logits[3], alone[0], atol=1e-6)


def test_initial_weights_are_the_seeds():
    network = a_network()
    first, again, other = (initial_weights(network, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first["head.weight"], again["head.weight"])
    assert not np.array_equal(first["head.weight"], other["head.weight"])
