"""Trainer: what the training loop asks of a framework: one optimiser step, logits, and its state as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Inputs = Sequence[np.ndarray] | np.ndarray
"""Numeric rows or pooled hidden states, float32 [rows, …]; or a row's token ids, int32 [length], or `TOKEN`s."""

TOKEN = np.dtype([("id", np.int32), ("share", np.float32)])
"""A token of a text, and what it weighs in the text's sum of embeddings; ids alone weigh 1 / length each."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Labelled rows, as a trainer takes them.

    Attributes:
        inputs: as the method takes them.
        labels: int64 [rows].
    """

    inputs: Inputs
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Rows":
        """Return some of the rows, by their numbers, in that order."""
        if isinstance(self.inputs, np.ndarray):
            return Rows(self.inputs[rows], self.labels[rows])
        return Rows([self.inputs[row] for row in rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one optimiser step.

    Attributes:
        inputs: as the method takes them.
        labels: int64 [rows].
        weights: of the rows' losses, float32 [rows]; the loss is their weighted mean.
    """

    inputs: Inputs
    labels: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What one optimiser step saw, before it moved the weights.

    Attributes:
        loss: what was minimised, at the training temperature, smoothing and weights included.
        loss_at_one: plain mean NLL of the same logits at temperature 1.
        gradient_norm: Euclidean norm over all trained weights, before clipping.
    """

    loss: float
    loss_at_one: float
    gradient_norm: float


class Trainer(Protocol):
    """A classifier in a framework, with its optimiser; temperature, rate and seed are data of every step.

    Nothing else is random or remembered: two trainers with equal state that take equal steps are equal, so a run that
    was interrupted ends with the weights of one that was not.

    Attributes:
        num_parameters: trained weights.
    """

    num_parameters: int

    def step(self, batch: Batch, *, temperature: float, learning_rate: float, seed: int) -> StepFigures:
        """Move the weights once.

        Args:
            batch: computed in as many pieces as the plan's `accumulate` says.
            temperature: the logits are divided by, > 0.
            learning_rate: ≥ 0.
            seed: of this step's dropout.
        """

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Return the logits of rows, float32 [rows, classes], nothing dropped."""

    def state(self) -> dict[str, np.ndarray]:
        """Copy everything that a later `step` depends on: weights and the optimiser's moments, by name."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` returned."""

    def weights(self) -> dict[str, np.ndarray]:
        """Copy the trained weights alone, by name: what serving needs."""

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take over what `weights` returned; the optimiser is left as it is."""


_STEPS = "steps"
_WEIGHT, _FIRST, _SECOND = "weight/", "first_moment/", "second_moment/"


def named_state(
    weights: Mapping[str, np.ndarray], moments: Mapping[str, tuple[np.ndarray, np.ndarray]], steps: int
) -> dict[str, np.ndarray]:
    """Put a trainer's weights, its optimiser's moments and its count of steps under one set of names."""
    state = {_STEPS: np.array(steps, np.int64)} | {_WEIGHT + name: weight for name, weight in weights.items()}
    for name, (first, second) in moments.items():
        state |= {_FIRST + name: first, _SECOND + name: second}
    return state


def split_state(
    state: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, tuple[np.ndarray, np.ndarray]], int]:
    """Take apart what `named_state` put together."""
    moments = {
        name.removeprefix(_FIRST): (values, state[_SECOND + name.removeprefix(_FIRST)])
        for name, values in state.items()
        if name.startswith(_FIRST)
    }
    return weights_of(state), moments, int(state[_STEPS])


def weights_of(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights of a state, as `Trainer.weights` does."""
    return {name.removeprefix(_WEIGHT): values for name, values in state.items() if name.startswith(_WEIGHT)}
