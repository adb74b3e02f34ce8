"""Trainers: a plan's network, optimiser and framework put together; a framework is imported when it is used."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import InvalidRequestError
from server.finetuning.plan import Hyperparameters, Plan
from server.finetuning.training.decoder import Body, initial_decoder_weights, read_body
from server.finetuning.training.network import Network, initial_weights
from server.finetuning.training.optimizer import Optimizer
from server.finetuning.training.trainer import Trainer

SERVED_ROWS = 64  # of a pass that only wants logits


def new_trainer(plan: Plan, network: Network) -> Trainer:
    """Make a trainer with the initial weights of the plan's seed.

    Args:
        plan: what is trained, and how.
        network: its layers.
    """
    if network.kind != "decoder":
        return trainer_of(plan.framework, network, initial_weights(network, plan.seed), plan.hyperparameters)
    body = read_body(Path(plan.model_dir), network)
    weights = initial_decoder_weights(network, body, plan.seed)
    return _trainer(plan.framework, network, weights, plan.hyperparameters, body)


def trainer_of(
    framework: str,
    network: Network,
    weights: Mapping[str, np.ndarray],
    settings: Hyperparameters | None = None,
    *,
    model_dir: str | None = None,
) -> Trainer:
    """Make a trainer with weights that are there.

    Args:
        framework: `torch` or `tensorflow`.
        network: its layers.
        weights: by name.
        settings: how weights are moved; None: they stay, only logits are wanted.
        model_dir: folder of the model that a `decoder` is a part of; others need none.

    Raises:
        InvalidRequestError: the framework is not installed.
        ModelError: the model cannot be read.
    """
    body = None
    if network.kind == "decoder":
        assert model_dir is not None
        body = read_body(Path(model_dir), network)
    return _trainer(framework, network, weights, settings, body)


def _trainer(
    framework: str,
    network: Network,
    weights: Mapping[str, np.ndarray],
    settings: Hyperparameters | None,
    body: Body | None,
) -> Trainer:
    options: dict[str, Any] = {} if body is None else {"body": body, "dtype": "auto"}
    trainer_class = _class_of(framework, decodes=body is not None)
    if settings is None:
        return trainer_class(network, weights, Optimizer(), batch_size=SERVED_ROWS, **options)
    optimizer = Optimizer(weight_decay=settings.weight_decay, max_grad_norm=settings.max_grad_norm)
    return trainer_class(
        network,
        weights,
        optimizer,
        batch_size=settings.batch_size,
        accumulate=settings.accumulate,
        label_smoothing=settings.label_smoothing,
        **options,
    )


def _class_of(framework: str, *, decodes: bool) -> Any:
    module, name = _CLASSES[framework, decodes]
    try:
        return getattr(import_module(f"server.finetuning.training.{module}"), name)
    except ImportError as error:
        raise InvalidRequestError(
            f"{framework} is not installed: pip install 'kelvin-server[{framework}]'", param="framework"
        ) from error


_CLASSES = {
    ("torch", False): ("torch", "TorchTrainer"),
    ("torch", True): ("torch_decoder", "TorchDecoderTrainer"),
    ("tensorflow", False): ("tensorflow", "TensorFlowTrainer"),
    ("tensorflow", True): ("tensorflow_decoder", "TensorFlowDecoderTrainer"),
}
