"""What a temperature does to training: equalities that hold to the last bit where T is a power of two."""

import math

import numpy as np
import pytest

from samplers.scores import log_probabilities, probabilities
from server.finetuning.training.network import HEAD, initial_weights
from server.finetuning.training.optimizer import Optimizer
from tests.finetuning.digits import FRAMEWORKS, a_batch, a_network, a_trainer

STEPS = 30


def trained(framework, *, temperature, rate, optimizer, head_scale=1.0, smoothing=0.0):
    """Return a trainer after some steps, and the loss of each."""
    network = a_network()
    weights = initial_weights(network, 0)
    for name in weights:
        if name.startswith(HEAD):
            weights[name] = weights[name] * np.float32(head_scale)
    trainer = a_trainer(framework, network, weights=weights, optimizer=optimizer, label_smoothing=smoothing)
    losses = [
        trainer.step(a_batch(start=32 * step), temperature=temperature, learning_rate=rate, seed=step).loss
        for step in range(STEPS)
    ]
    return trainer, losses


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("temperature", "kind", "power", "rate"), [(2.0, "sgd", 2, 0.3), (0.5, "adamw", 1, 0.003)], ids=["sgd", "adamw"]
)
def test_a_temperature_is_another_start_and_another_rate_of_the_head(framework, temperature, kind, power, rate):
    """Training at T is training at 1 with the head begun at W/T and moved at η/T², or η/T with Adam."""
    settings = {"kind": kind, "epsilon": 1e-30}
    tempered, losses = trained(framework, temperature=temperature, rate=rate, optimizer=Optimizer(**settings))
    plain, same = trained(
        framework,
        temperature=1.0,
        rate=rate,
        optimizer=Optimizer(**settings, head_rate=temperature**-power),
        head_scale=1 / temperature,
    )
    assert losses == same
    assert losses[-1] < 0.9 * losses[0]
    ours, theirs = tempered.weights(), plain.weights()
    for name in ours:
        factor = temperature if name.startswith(HEAD) else 1.0
        np.testing.assert_array_equal(ours[name], theirs[name] * np.float32(factor))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_raising_the_temperature_shrinks_the_gradient(framework):
    """Near the start probabilities are nearly even, so that the gradient falls about as 1/T."""
    trainer = a_trainer(framework, a_network())
    steps = [trainer.step(a_batch(), temperature=t, learning_rate=0.0, seed=0) for t in (0.5, 1.0, 2.0, 4.0)]
    norms = [step.gradient_norm for step in steps]
    assert norms == sorted(norms, reverse=True)
    assert norms[2] / norms[3] == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_gradient_is_that_of_the_formula(framework):
    """One SGD step of rate 1 moves the head's bias by the mean of (softmax(z/T) - y) / T, reckoned in float64."""
    network, batch, temperature = a_network(), a_batch(), 3.0
    trainer = a_trainer(framework, network, optimizer=Optimizer(kind="sgd"))
    logits, before = trainer.logits(batch.inputs).astype(np.float64), trainer.weights()["head.bias"]
    trainer.step(batch, temperature=temperature, learning_rate=1.0, seed=0)
    expected = (probabilities(logits, temperature) - np.eye(10)[batch.labels]).mean(axis=0) / temperature
    np.testing.assert_allclose(before - trainer.weights()["head.bias"], expected, atol=1e-7)


@pytest.mark.parametrize(("framework", "temperature"), [("torch", 1.0), ("torch", 2.0), ("tensorflow", 2.0)])
def test_smoothing_has_its_optimum_where_the_formula_says(framework, temperature):
    """The best gap between the label's logit and the others' is T ln((1 - e + e/K) / (e/K)) (finite, unlike e = 0)."""
    classes, mass = 5, 0.1
    network = a_network(kind="linear", inputs=(classes,), classes=classes, hidden=())
    trainer = a_trainer(
        framework, network, optimizer=Optimizer(kind="sgd"), batch_size=classes, label_smoothing=mass,
        weights={"head.weight": np.zeros((classes, classes), np.float32), "head.bias": np.zeros(classes, np.float32)},
    )  # fmt: skip
    batch = a_batch(classes)
    batch = type(batch)(np.eye(classes, dtype=np.float32), np.arange(classes), np.ones(classes, np.float32))
    for step in range(600):
        trainer.step(batch, temperature=temperature, learning_rate=20.0 * temperature**2, seed=step)
    logits = trainer.logits(batch.inputs)
    expected = temperature * math.log((1 - mass + mass / classes) / (mass / classes))
    assert expected == pytest.approx(3.8286 * temperature, abs=1e-4)
    np.testing.assert_allclose(logits[0, 0] - logits[0, 1:], expected, atol=2e-3)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_optimum_of_a_convex_problem_is_scikit_learns(framework):
    """A linear head with the penalty of LogisticRegression, as a decay of each step, comes to the same logits."""
    from sklearn.linear_model import LogisticRegression

    batch, strength = a_batch(200), 0.05  # penalty of |W|²/2 beside the mean loss
    inputs = batch.inputs[:, 18:24].astype(np.float64)
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    network = a_network(kind="linear", inputs=(6,), hidden=())
    trainer = a_trainer(framework, network, optimizer=Optimizer(kind="sgd"), batch_size=200)
    batch = type(batch)(inputs, batch.labels, batch.weights)
    for step in range(500):
        weights = trainer.weights()
        trainer.step(batch, temperature=1.0, learning_rate=1.0, seed=step)
        moved = trainer.weights()
        moved["head.weight"] -= np.float32(strength) * weights["head.weight"]
        trainer.load_weights(moved)
    oracle = LogisticRegression(C=1 / (200 * strength), tol=1e-10, max_iter=10_000).fit(inputs, batch.labels)
    ours = log_probabilities(trainer.logits(inputs))
    np.testing.assert_allclose(ours, oracle.predict_log_proba(inputs), atol=1e-4)
