"""Decoder: which weights of a served model a fine-tune moves, their names, and what they start from; no framework here.

LoRA (Hu et al. 2022, arXiv:2106.09685) leaves a matrix W as it is and adds scale · B · A to it, with A [rank, in] and
B [out, rank]; B starts at 0, so that the first step sees the model as it is served. Every matrix of a block has
adapters of its own; query, key and value are one matrix here, and so are gate and up.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from server.finetuning.training.network import HEAD, Network
from server.finetuning.training.randomness import Purpose, generator
from server.models.load import load_spec
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights, LayerWeights, read_weights

ADAPTER_SCALE = 2.0  # of what adapters add: alpha / rank in the paper's words
DOWN, UP = "lora_a", "lora_b"
MATRICES = ("qkv", "out", "up", "down")  # of a block, as `LayerWeights` names them


@dataclass(frozen=True, slots=True)
class Body:
    """The blocks of a served model that a classifier reads with.

    Attributes:
        spec: the decoder's shape.
        weights: its arrays; blocks that are not read, and the output matrix, are left out.
    """

    spec: DecoderSpec
    weights: DecoderWeights


def read_body(model_dir: Path, network: Network) -> Body:
    """Read a model's lower blocks.

    Args:
        model_dir: folder of the model.
        network: a `decoder`, which says how many blocks.

    Raises:
        ModelError: the model cannot be read.
    """
    spec = load_spec(model_dir)
    weights = read_weights(model_dir, spec)
    depth = max(1, round(spec.num_layers * network.depth))
    return Body(spec, replace(weights, layers=weights.layers[:depth], head=weights.embedding[:0]))


def initial_decoder_weights(network: Network, body: Body, seed: int) -> dict[str, np.ndarray]:
    """Return the trained weights before the first step.

    Args:
        network: its shape.
        body: the model.
        seed: of the fine-tune.

    Returns:
        float32 by name, matrices [out, in]: the adapters, A drawn evenly from ±1 / √in and B all 0, or the model's own
        weights; and the head.
    """
    noise = generator(seed, Purpose.WEIGHTS)
    weights = _adapters(network, body, noise) if network.rank else _own(body)
    width = body.spec.hidden_size
    head = noise.standard_normal((network.classes, width), np.float32) * np.float32(math.sqrt(1 / width))
    return weights | {f"{HEAD}.weight": head, f"{HEAD}.bias": np.zeros(network.classes, np.float32)}


def attach(decoder: Any, weights: Mapping[str, Any], adapted: Any) -> None:
    """Put trained weights where a framework's decoder reads them.

    Args:
        decoder: with the attributes of `DecoderWeights`; changed.
        weights: by name, as `initial_decoder_weights` names them, in the framework's own type.
        adapted: makes of a matrix, its A and its B what the decoder's `linear` multiplies by.
    """
    for number, layer in enumerate(decoder.layers):
        for field in fields(LayerWeights):
            name = f"layers.{number}.{field.name}"
            if name in weights:
                _set(layer, field.name, weights[name])
            elif f"{name}.{DOWN}" in weights:
                matrix = getattr(layer, field.name)
                _set(layer, field.name, adapted(matrix, weights[f"{name}.{DOWN}"], weights[f"{name}.{UP}"]))
    for name in ("embedding", "positions"):
        if name in weights:
            _set(decoder, name, weights[name])


def _adapters(network: Network, body: Body, noise: np.random.Generator) -> dict[str, np.ndarray]:
    adapters = {}
    for number, layer in enumerate(body.weights.layers):
        for matrix in MATRICES:
            rows, columns = getattr(layer, matrix).shape
            spread = 1 / math.sqrt(columns)
            drawn = noise.uniform(-spread, spread, (network.rank, columns)).astype(np.float32)
            adapters[f"layers.{number}.{matrix}.{DOWN}"] = drawn
            adapters[f"layers.{number}.{matrix}.{UP}"] = np.zeros((rows, network.rank), np.float32)
    return adapters


def _own(body: Body) -> dict[str, np.ndarray]:
    """Name the model's weights that the mean of hidden states depends on, in float32."""
    found = {"embedding": body.weights.embedding, "positions": body.weights.positions}
    for number, layer in enumerate(body.weights.layers):
        found |= {f"layers.{number}.{field.name}": getattr(layer, field.name) for field in fields(LayerWeights)}
    return {name: array.astype(np.float32) for name, array in found.items() if array is not None}


def _set(owner: Any, name: str, value: Any) -> None:
    delattr(owner, name)  # torch lets a module's parameter be replaced by a parameter alone
    setattr(owner, name, value)
