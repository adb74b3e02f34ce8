"""Digits, plans of few words, and a channel that writes down what it hears."""

import functools

import numpy as np
from sklearn.datasets import load_digits

from server.finetuning.examples import Examples, Splits
from server.finetuning.plan import CalibrationPlan, Hyperparameters, Plan, TemperaturePlan
from server.finetuning.training.network import Network, initial_weights
from server.finetuning.training.optimizer import Optimizer
from server.finetuning.training.trainer import Batch, Trainer

FRAMEWORKS = ("torch", "tensorflow")
HYPERPARAMETERS = {
    "n_epochs": 2, "batch_size": 32, "accumulate": 1, "learning_rate": 0.005, "warmup": 0.0, "decay": "none",
    "label_smoothing": 0.0, "class_weight": None, "weight_decay": 0.0, "max_grad_norm": None,
    "early_stopping_patience": None, "max_length": 64,
}  # fmt: skip
TEMPERATURE = {
    "schedule": "constant", "start": 1.0, "end": 1.0, "steps": 2, "points": (), "per": "epoch", "lr_coupling": "none",
}  # fmt: skip


def a_plan(framework="torch", method="mlp", *, temperature=None, seed=0, served="fitted", model_dir="/", **changes):
    """Return a plan; what is not said of it is as plain as can be."""
    return Plan(
        model="tiny",
        model_dir=str(model_dir),
        method=method,
        framework=framework,
        training_file="file-0",
        validation_file=None,
        test_file=None,
        suffix=None,
        seed=seed,
        hyperparameters=Hyperparameters(**HYPERPARAMETERS | changes),
        temperature=TemperaturePlan(**TEMPERATURE | (temperature or {})),
        calibration=CalibrationPlan(method="temperature", fraction=0.2),
        serving_temperature=served,
        search=None,
    )


@functools.cache
def digit_rows():
    """Return all digits in an order of their own: float32 [1797, 64] in [0, 1], and int64 labels."""
    rows, labels = load_digits(return_X_y=True)
    mixed = np.random.default_rng(0).permutation(len(labels))
    return (rows[mixed] / 16).astype(np.float32), labels[mixed].astype(np.int64)


def digit_splits(train=600):
    """Return digits in four parts of 600 (or fewer), 200, 300 and 397 rows."""
    rows, labels = digit_rows()
    bounds = [0, train], [900, 1100], [1100, 1400], [1400, 1797]
    parts = [Examples(rows[start:end], labels[start:end]) for start, end in bounds]
    return Splits(*parts, classes=tuple("0123456789"))


def a_batch(rows=32, start=0):
    """Return some digits as a batch."""
    inputs, labels = (part[start : start + rows] for part in digit_rows())
    return Batch(inputs, labels, np.ones(rows, np.float32))


def a_network(**changes):
    return Network(**{"kind": "mlp", "inputs": (64,), "classes": 10, "hidden": (32,)} | changes)


def a_trainer(framework, network, *, weights=None, optimizer=None, batch_size=32, **settings) -> Trainer:
    """Return a trainer; its weights are those of seed 0 unless they are given."""
    if framework == "torch":
        from server.finetuning.training.torch import TorchTrainer as Framework
    else:
        from server.finetuning.training.tensorflow import TensorFlowTrainer as Framework
    weights = initial_weights(network, 0) if weights is None else weights
    return Framework(network, weights, optimizer or Optimizer(), batch_size=batch_size, **settings)


class Heard:
    """A channel that remembers; it asks to stop after so many looks at `should_stop`."""

    def __init__(self, stop_after=None):
        self.reports, self.events, self.looks, self._stop_after = [], [], 0, stop_after

    def progress(self, fraction, *, epoch, step, eta_s):
        self.reports.append((fraction, epoch, step, eta_s))

    def event(self, type, message, *, level="info", data=None):
        self.events.append((type, message, level, data))

    @property
    def should_stop(self):
        self.looks += 1
        return self._stop_after is not None and self.looks > self._stop_after

    def messages(self, type="message"):
        return [message for kind, message, *_ in self.events if kind == type]
