"""Trainers: a plan's network, optimiser and framework put together; a framework is imported when it is used."""

from collections.abc import Mapping

import numpy as np

from server.errors import InvalidRequestError
from server.finetuning.network import Network, initial_weights
from server.finetuning.optimizer import Optimizer
from server.finetuning.plan import Hyperparameters, Plan
from server.finetuning.trainer import Trainer

SERVED_ROWS = 64  # of a pass that only wants logits


def new_trainer(plan: Plan, network: Network) -> Trainer:
    """Make a trainer with the initial weights of the plan's seed.

    Args:
        plan: what is trained, and how.
        network: its layers.
    """
    return trainer_of(plan.framework, network, initial_weights(network, plan.seed), plan.hyperparameters)


def trainer_of(
    framework: str, network: Network, weights: Mapping[str, np.ndarray], settings: Hyperparameters | None = None
) -> Trainer:
    """Make a trainer with weights that are there.

    Args:
        framework: `torch` or `tensorflow`.
        network: its layers.
        weights: by name.
        settings: how weights are moved; None: they stay, only logits are wanted.

    Raises:
        InvalidRequestError: the framework is not installed.
    """
    if settings is None:
        return _class_of(framework)(network, weights, Optimizer(), batch_size=SERVED_ROWS)
    optimizer = Optimizer(weight_decay=settings.weight_decay, max_grad_norm=settings.max_grad_norm)
    return _class_of(framework)(
        network,
        weights,
        optimizer,
        batch_size=settings.batch_size,
        accumulate=settings.accumulate,
        label_smoothing=settings.label_smoothing,
    )


def _class_of(framework: str) -> type:
    try:
        if framework == "torch":
            from server.finetuning.torch import TorchTrainer

            return TorchTrainer
        from server.finetuning.tensorflow import TensorFlowTrainer

        return TensorFlowTrainer
    except ImportError as error:
        raise InvalidRequestError(
            f"{framework} is not installed: pip install 'kelvin-server[{framework}]'", param="framework"
        ) from error
