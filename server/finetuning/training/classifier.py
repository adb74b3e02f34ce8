"""Classifier: a finished fine-tune as a folder that needs nothing else of the job: weights, classes, temperatures.

One that reads with a model (`linear_probe`, `lora`, `full`) needs that model's folder beside its own.

The folder has `weights.safetensors`, `encoder.safetensors`, for texts a copy of the model's `tokenizer.json`, and a
manifest with the SHA-256 of each. Nothing in it is code. Its weights fit either framework.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from server.errors import ModelError
from server.finetuning.errors import ClassifierError
from server.finetuning.plan import TEXT_METHODS, Method
from server.finetuning.training.durable import MANIFEST, DamagedError, checked_manifest, write_arrays, write_folder
from server.finetuning.training.embedding import model_embed
from server.finetuning.training.ensemble import Ensemble, parted
from server.finetuning.training.inputs import load_encoder, require_kind
from server.finetuning.training.network import Network
from server.finetuning.training.tokens import Given, Tokens
from server.finetuning.training.trainers import trainer_of
from server.models.tokenizer import Tokenizer

_FORMAT = 1
_WEIGHTS, _ENCODER, _TOKENIZER = "weights.safetensors", "encoder.safetensors", "tokenizer.json"


class Manifest(BaseModel):
    """What a classifier's manifest says of it, beside its files' hashes.

    Attributes:
        format: of the folder.
        method: that trained it.
        framework: likewise.
        model: name of the model it reads with.
        model_dir: folder of that model.
        max_length: tokens of a text that are read.
        classes: names, in the order of the logits.
        network: its layers; of several that have encoders of their own the first one's, and others differ in `inputs`.
        temperature_served: that logits are divided by.
        temperature_fitted: to the calibration part; None: none was, or 1 was as good.
        temperature_final: of the loss at the end of training.
        ensemble: networks whose logits are averaged, ≥ 1.
        encoders: that they read with: one, or one each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = _FORMAT
    method: Method
    framework: Literal["torch", "tensorflow"]
    model: str
    model_dir: str
    max_length: int
    classes: list[str]
    network: Network
    temperature_served: float
    temperature_fitted: float | None
    temperature_final: float
    ensemble: int = 1
    encoders: int = 1


class Classifier:
    """A classifier that is ready to answer; its methods are for one thread at a time.

    Attributes:
        manifest: what is known of it.
    """

    def __init__(self, manifest: Manifest, networks: Ensemble) -> None:
        """Put the parts together; see `load_classifier`."""
        self.manifest, self._networks = manifest, networks

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of the logits."""
        return self.manifest.classes

    @property
    def temperature(self) -> float:
        """What logits are divided by unless somebody says otherwise, > 0."""
        return self.manifest.temperature_served

    def logits(self, inputs: Given) -> np.ndarray:
        """Return the logits of inputs, float32 [rows, classes].

        Args:
            inputs: texts, or numeric rows as an array or lists of equal length.

        Raises:
            InvalidRequestError: they are not what the method takes.
        """
        if len(inputs) == 0:
            return np.zeros((0, len(self.classes)), np.float32)
        if self.manifest.method in TEXT_METHODS or isinstance(inputs[0], str):
            require_kind(self.manifest.method, inputs)
        return self._networks.logits(inputs)


def save_classifier(folder: Path, manifest: Manifest, networks: Ensemble) -> None:
    """Write a classifier's folder, whole or not at all, in the place of one that is there.

    Args:
        folder: its parent exists.
        manifest: what is known of it.
        networks: with their encoders.

    Raises:
        DiskFullError: there is no room.
        StorageError: the folder cannot be written for another reason.
    """
    files = {
        _WEIGHTS: lambda path: write_arrays(path, networks.weights()),
        _ENCODER: lambda path: write_arrays(path, networks.arrays()),
    }
    if manifest.method in TEXT_METHODS:
        tokenizer = Path(manifest.model_dir) / _TOKENIZER
        files[_TOKENIZER] = lambda path: shutil.copyfile(tokenizer, path) and None
    write_folder(folder, files, manifest.model_dump(mode="json"))


def load_classifier(folder: Path, *, framework: Literal["torch", "tensorflow"] | None = None) -> Classifier:
    """Load a classifier.

    Args:
        folder: that `save_classifier` has written.
        framework: to reckon in; None: the one that trained it.

    Raises:
        ClassifierError: the folder is damaged or not a classifier's.
        ModelError: the model that it reads with cannot be loaded; raised when the first text is to be read.
        InvalidRequestError: the framework is not installed.
    """
    try:
        found = checked_manifest(folder)
        manifest = Manifest.model_validate({name: value for name, value in found.items() if name != "files"})
        weights, arrays = load_file(folder / _WEIGHTS), load_file(folder / _ENCODER)
        tokens = Tokens(Tokenizer.from_folder(folder), manifest.max_length) if manifest.method in TEXT_METHODS else None
    except (DamagedError, ValidationError, SafetensorError, FileNotFoundError, ModelError) as error:
        raise ClassifierError(
            f"the classifier in {folder} cannot be used: {error}; check {MANIFEST} beside its files, or train it again"
        ) from error
    reckoner = framework or manifest.framework
    embed = None
    if manifest.method == "linear_probe" and tokens is not None:
        embed = model_embed(reckoner, Path(manifest.model_dir), tokens, manifest.max_length)
    encoders = [load_encoder(manifest.method, own, tokens, embed) for own in parted(arrays, manifest.encoders)]
    shapes = [manifest.network] * manifest.ensemble
    if len(encoders) > 1:
        shapes = [manifest.network.model_copy(update={"inputs": own.row}) for own in encoders]
    networks = [
        trainer_of(reckoner, shape, own, model_dir=manifest.model_dir)
        for shape, own in zip(shapes, parted(weights, manifest.ensemble), strict=True)
    ]
    return Classifier(manifest, Ensemble(networks, encoders))
