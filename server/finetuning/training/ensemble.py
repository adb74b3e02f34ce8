"""Ensemble: networks of one plan that differ in their seeds alone, and answer with the mean of their logits.

Lakshminarayanan et al. (2017) average probabilities; a mean of logits is calibrated by one temperature, and can be
asked for at any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from server.finetuning.plan import Plan
from server.finetuning.training.inputs import Encoder
from server.finetuning.training.tokens import Given
from server.finetuning.training.trainer import Trainer

_SEED_BITS = 32  # a plan's own seed has fewer, so that no network's seed is another plan's


class Answering(Protocol):
    """What answers rows with logits."""

    def logits(self, inputs: Any) -> np.ndarray:
        """Return the logits of rows, float [rows, classes]."""


class Ensemble:
    """Networks as one; of a single network the weights' names and the logits are its own.

    Attributes:
        networks: in order, at least one.
        encoders: one that they share, or one each.
    """

    def __init__(self, networks: Sequence[Trainer], encoders: Sequence[Encoder]) -> None:
        """Put networks together.

        Args:
            networks: of as many classes, at least one.
            encoders: one that all of them read with, or one each.
        """
        assert len(encoders) in (1, len(networks)), "networks share an encoder, or have one each"
        self.networks, self.encoders = tuple(networks), tuple(encoders)

    @property
    def num_parameters(self) -> int:
        """Trained weights of all of them."""
        return sum(own.num_parameters for own in self.networks)

    def logits(self, inputs: Given) -> np.ndarray:
        """Return the mean of the networks' logits, float32 [rows, classes], nothing dropped.

        Args:
            inputs: as encoders take them, at least one.
        """
        read = [own.encode(inputs) for own in self.encoders]
        return mean_logits(self.networks, read if len(read) > 1 else read * len(self.networks))

    def weights(self) -> dict[str, np.ndarray]:
        """Copy the weights of all networks, by name."""
        return _together([own.weights() for own in self.networks])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what the encoders have learned, by name."""
        return _together([own.arrays() for own in self.encoders])


def mean_logits(networks: Sequence[Answering], inputs: Sequence[Any]) -> np.ndarray:
    """Return the mean of networks' logits, float [rows, classes]; of a single one its own.

    Args:
        networks: at least one.
        inputs: the same rows for each network, as it takes them.
    """
    first, *others = (network.logits(own) for network, own in zip(networks, inputs, strict=True))
    return sum(others, start=first) / np.float32(len(networks)) if others else first


def _together(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    return {_prefix(number) + name: values for number, own in enumerate(parts) for name, values in own.items()}


def parted(arrays: Mapping[str, np.ndarray], count: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the weights of each network, or the arrays of each encoder, as `Ensemble` put them together.

    Args:
        arrays: by name.
        count: of networks or encoders.
    """
    for number in range(count):
        prefix = _prefix(number) if count > 1 else ""
        yield {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def plan_of_network(plan: Plan, number: int) -> Plan:
    """Return the plan of one network: its seed draws initial weights, order and dropout; the first has the plan's own.

    Args:
        plan: of the fine-tune.
        number: of the network, from 0.
    """
    return plan.model_copy(update={"seed": plan.seed + (number << _SEED_BITS)})


def _prefix(number: int) -> str:
    return f"network.{number}/"
