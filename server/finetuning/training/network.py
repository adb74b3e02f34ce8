"""Network: the shape of a classifier, and the weights that it starts with, the same in both frameworks."""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from server.finetuning.training.randomness import Purpose, generator

HEAD = "head"
_CONVOLUTION = 3  # pixels, each way
_EMBEDDING_SPREAD = 0.01

Kind = Literal["linear", "mlp", "dan", "cnn", "decoder"]


class Network(BaseModel):
    """A classifier's layers; all end in a linear head without activation, whose outputs are the logits.

    `linear` is the head alone. `mlp` has hidden layers with ReLU. `dan` (Iyyer et al. 2015) takes a weighted sum of a
    text's token embeddings through a ReLU and such layers. `cnn` has convolutions of 3 x 3, ReLU and means over 2 x 2
    before them.
    `decoder` is a served model's lower blocks and the head on the mean of their hidden states; see `decoder.py`.

    Attributes:
        kind: which of these.
        inputs: shape of a row: features; height, width and channels of an image for `cnn`; tokens of the vocabulary
            for `dan` and `decoder`.
        classes: logits of a row, ≥ 1.
        embedding: width of a token's embedding; 0: none.
        channels: of the convolutions, in order.
        hidden: widths of the hidden layers, in order.
        dropout: share of hidden units that a training step leaves out, in [0, 1).
        token_dropout: share of a text's tokens that a training step leaves out, in [0, 1).
        depth: share of a decoder's blocks that are read, from below, in (0, 1].
        rank: of a decoder's adapters, ≥ 1; 0: it has none, its own weights are trained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    inputs: tuple[int, ...]
    classes: int
    embedding: int = 0
    channels: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    token_dropout: float = 0.0
    depth: float = 1.0
    rank: int = 0

    @property
    def reads_tokens(self) -> bool:
        """Whether a row is token ids, and not numbers."""
        return self.kind in ("dan", "decoder")

    @property
    def layers(self) -> list[str]:
        """Names of the layers with ReLU after the convolutions, in order."""
        return [f"hidden.{number}" for number in range(len(self.hidden))]

    @property
    def dropped(self) -> tuple[int, ...]:
        """Widths of the layers whose units are dropped, in order: the sum of embeddings, and the hidden ones."""
        return (self.embedding, *self.hidden) if self.kind == "dan" else self.hidden

    @property
    def convolutions(self) -> list[str]:
        """Names of the convolutions, in order."""
        return [f"convolution.{number}" for number in range(len(self.channels))]


def initial_weights(network: Network, seed: int) -> dict[str, np.ndarray]:
    """Draw the weights before the first step: He et al. (2015) under a ReLU, 1 / √inputs for the head, biases 0.

    Args:
        network: its shape.
        seed: of the fine-tune.

    Returns:
        float32 by name; matrices are [out, in], convolutions [out, in, 3, 3], embeddings [tokens, width].
    """
    noise = generator(seed, Purpose.WEIGHTS)
    weights = {}
    for name, shape, spread in _shapes(network):
        weights[f"{name}.weight"] = noise.standard_normal(shape, np.float32) * np.float32(spread)
        if name != "embedding":
            weights[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return weights


def _shapes(network: Network) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """Name each layer with the shape of its weight and the standard deviation it is drawn with."""
    if network.kind == "dan":
        yield "embedding", (network.inputs[0], network.embedding), _EMBEDDING_SPREAD
        width = network.embedding
    elif network.kind == "cnn":
        height, pixels, depth = network.inputs
        for name, channels in zip(network.convolutions, network.channels, strict=True):
            yield name, (channels, depth, _CONVOLUTION, _CONVOLUTION), math.sqrt(2 / (depth * _CONVOLUTION**2))
            height, pixels, depth = halved(height), halved(pixels), channels
        width = height * pixels * depth
    else:
        width = math.prod(network.inputs)
    for name, hidden in zip(network.layers, network.hidden, strict=True):
        yield name, (hidden, width), math.sqrt(2 / width)
        width = hidden
    yield HEAD, (network.classes, width), math.sqrt(1 / width)


def halved(side: int) -> int:
    """Return an image's side after a mean over pairs of pixels: a single pixel stays, an odd last one is left out."""
    return max(1, side // 2)


def network_for(method: str, row: tuple[int, ...], classes: int) -> Network:
    """Choose the layers of a method.

    Args:
        method: of the plan.
        row: shape of a row; for methods that read tokens the size of the vocabulary.
        classes: how many.
    """
    if method == "linear_probe":
        return Network(kind="linear", inputs=row, classes=classes)
    if method == "dan":
        return Network(kind="dan", inputs=row, classes=classes, embedding=128, dropout=0.5)
    if method == "mlp":
        return Network(kind="mlp", inputs=row, classes=classes, hidden=(128, 64))
    if method == "cnn":
        return Network(kind="cnn", inputs=as_image(row), classes=classes, channels=(16, 32), hidden=(64,))
    if method in ("lora", "full"):
        depth, rank = (0.5, 8) if method == "lora" else (1.0, 0)
        return Network(kind="decoder", inputs=row, classes=classes, dropout=0.1, depth=depth, rank=rank)
    raise ValueError(f"there is no method {method}")


def as_image(row: tuple[int, ...]) -> tuple[int, int, int]:
    """Read a row as height, width and channels: n² features are a square, others a line; a matrix has one channel."""
    if len(row) == 1:
        side = math.isqrt(row[0])
        return (side, side, 1) if side * side == row[0] else (1, row[0], 1)
    if len(row) == 2:
        return (*row, 1)
    height, width, channels = row
    return height, width, channels
