"""Ensemble: networks of one plan that differ in their seeds alone, and answer with the mean of their logits.

Lakshminarayanan et al. (2017) average probabilities; a mean of logits is calibrated by one temperature, and can be
asked for at any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from server.finetuning.plan import Plan
from server.finetuning.training.trainer import Inputs, Trainer

_SEED_BITS = 32  # a plan's own seed has fewer, so that no network's seed is another plan's


class Answering(Protocol):
    """What answers rows with logits."""

    def logits(self, inputs: Any) -> np.ndarray:
        """Return the logits of rows, float [rows, classes]."""


class Ensemble:
    """Networks as one; of a single network the weights' names and the logits are its own.

    Attributes:
        networks: in order, at least one.
    """

    def __init__(self, networks: Sequence[Trainer]) -> None:
        """Put networks together.

        Args:
            networks: of one shape, at least one.
        """
        self.networks = tuple(networks)

    @property
    def num_parameters(self) -> int:
        """Trained weights of all of them."""
        return sum(own.num_parameters for own in self.networks)

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Return the mean of the networks' logits, float32 [rows, classes], nothing dropped."""
        return mean_logits(self.networks, inputs)

    def weights(self) -> dict[str, np.ndarray]:
        """Copy the weights of all networks, by name."""
        if len(self.networks) == 1:
            return self.networks[0].weights()
        return {
            _prefix(number) + name: values
            for number, own in enumerate(self.networks)
            for name, values in own.weights().items()
        }


def mean_logits(networks: Sequence[Answering], inputs: Any) -> np.ndarray:
    """Return the mean of networks' logits, float [rows, classes]; of a single one its own.

    Args:
        networks: at least one.
        inputs: as they take them.
    """
    first, *others = (own.logits(inputs) for own in networks)
    return sum(others, start=first) / np.float32(len(networks)) if others else first


def parted(weights: Mapping[str, np.ndarray], count: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the weights of each network, as `Ensemble.weights` put them together.

    Args:
        weights: by name.
        count: of networks.
    """
    for number in range(count):
        prefix = _prefix(number) if count > 1 else ""
        yield {name.removeprefix(prefix): values for name, values in weights.items() if name.startswith(prefix)}


def plan_of_network(plan: Plan, number: int) -> Plan:
    """Return the plan of one network: its seed draws initial weights, order and dropout; the first has the plan's own.

    Args:
        plan: of the fine-tune.
        number: of the network, from 0.
    """
    return plan.model_copy(update={"seed": plan.seed + (number << _SEED_BITS)})


def _prefix(number: int) -> str:
    return f"network.{number}/"
