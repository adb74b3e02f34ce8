"""Backends: a model on a framework. Naming one here is the only branch on a framework's name."""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from server.backends.base import Backend, Embedder
from server.errors import ModelError
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights


def load_backend(framework: str, spec: DecoderSpec, weights: DecoderWeights, **options: Any) -> Backend:
    """Load a model into a framework; the framework is imported here and not before.

    Args:
        framework: `torch` or `tensorflow`.
        spec: the decoder's shape.
        weights: its arrays.
        options: `dtype`, `device`, `num_slots`, `max_length`, `compile`, `threads`, `cache_dir`, `quantization`; see
            `TorchBackend`.

    Raises:
        ModelError: the framework is not supported or not installed.
    """
    backend: Backend = _load(framework, _BACKENDS)(spec, weights, **options)
    return backend


def load_embedder(framework: str, spec: DecoderSpec, weights: DecoderWeights, **options: Any) -> Embedder:
    """Load the lower blocks of a model into a framework, to turn texts into vectors.

    Args:
        framework: `torch` or `tensorflow`.
        spec: the decoder's shape.
        weights: its arrays.
        options: `layers`, `dtype`, `device`, `max_length`, `threads`, `cache_dir`; see `TorchEmbedder`.

    Raises:
        ModelError: the framework is not supported or not installed.
    """
    embedder: Embedder = _load(framework, _EMBEDDERS)(spec, weights, **options)
    return embedder


def _load(framework: str, classes: Mapping[str, tuple[str, str]]) -> Any:
    """Import a framework's class.

    Raises:
        ModelError: the framework is not supported or not installed.
    """
    if framework not in classes:
        raise ModelError(f"framework {framework!r} is not supported; supported: {', '.join(classes)}")
    for variable, value in _ENVIRONMENT[framework].items():
        os.environ.setdefault(variable, value)
    module, name = classes[framework]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != framework:
            raise
        remedy = f"pip install 'kelvin-server[{framework}]'"
        raise ModelError(f"{framework} is not installed; install it with: {remedy}") from error


_BACKENDS = {
    "torch": ("server.backends.torch", "TorchBackend"),
    "tensorflow": ("server.backends.tensorflow", "TensorFlowBackend"),
}
_EMBEDDERS = {
    "torch": ("server.backends.torch_embedder", "TorchEmbedder"),
    "tensorflow": ("server.backends.tensorflow_embedder", "TensorFlowEmbedder"),
}
_ENVIRONMENT = {
    # Torch's own loops are few beside the kernels'; their idle threads must not spin on cores that the kernels need.
    # The runtime reads this once, when torch is first imported.
    "torch": {"OMP_WAIT_POLICY": "PASSIVE"},
    "tensorflow": {"TF_CPP_MIN_LOG_LEVEL": "1"},  # what it says of itself is no line of our log
}
