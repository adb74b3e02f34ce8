"""Optimizer: the figures of the update rule that both frameworks follow, AdamW or plain gradient descent."""

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True, slots=True)
class Optimizer:
    """How a gradient moves a weight.

    `adamw` (Loshchilov and Hutter 2019): the two moments m and v follow the gradient and its square, and
    w ← w - rate · (m̂ / (√v̂ + epsilon) + weight_decay · w), with m̂ = m / (1 - beta_1ᵗ) and v̂ = v / (1 - beta_2ᵗ).
    `sgd`: w ← w - rate · gradient. Only matrices decay, not biases and scales.

    Attributes:
        kind: which of the two.
        weight_decay: ≥ 0; `sgd` has none.
        max_grad_norm: gradients longer than this, all weights together, are shortened to it; None: they stay.
        head_rate: factor of the head's rate, > 0; the head is what no other layer follows.
        beta_1: in [0, 1).
        beta_2: in [0, 1).
        epsilon: > 0.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    head_rate: float = 1.0
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def corrections(self, steps: int) -> tuple[np.float32, np.float32]:
        """Return what the moments are multiplied by after so many steps, to make up for their start at 0."""
        return np.float32(1 / (1 - self.beta_1**steps)), np.float32(1 / (1 - self.beta_2**steps))

    def decay_of(self, dimensions: int) -> float:
        """Return the decay of a weight of so many dimensions."""
        return self.weight_decay if dimensions > 1 and self.kind == "adamw" else 0.0
