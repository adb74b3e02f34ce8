"""Backends: a model on a framework. Naming one here is the only branch on a framework's name."""

import os
from collections.abc import Callable
from typing import Any

from server.backends.base import Backend
from server.errors import ModelError
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights


def load_backend(framework: str, spec: DecoderSpec, weights: DecoderWeights, **options: Any) -> Backend:
    """Load a model into a framework; the framework is imported here and not before.

    Args:
        framework: `torch` or `tensorflow`.
        spec: the decoder's shape.
        weights: its arrays.
        options: `dtype`, `device`, `num_slots`, `max_length`, `compile`, `threads`, `cache_dir`; see `TorchBackend`.

    Raises:
        ModelError: the framework is not supported or not installed.
    """
    if framework not in _LOADERS:
        raise ModelError(f"framework {framework!r} is not supported; supported: {', '.join(_LOADERS)}")
    try:
        backend = _LOADERS[framework]()
    except ModuleNotFoundError as error:
        if error.name != framework:
            raise
        remedy = f"pip install 'kelvin-server[{framework}]'"
        raise ModelError(f"{framework} is not installed; install it with: {remedy}") from error
    return backend(spec, weights, **options)


def _torch() -> Callable[..., Backend]:
    # Torch's own loops are few beside the kernels'; their idle threads must not spin on cores that the kernels need.
    # The runtime reads this once, when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from server.backends.torch import TorchBackend

    return TorchBackend


def _tensorflow() -> Callable[..., Backend]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # what it says of itself is no line of our log
    from server.backends.tensorflow import TensorFlowBackend

    return TensorFlowBackend


_LOADERS: dict[str, Callable[[], Callable[..., Backend]]] = {"torch": _torch, "tensorflow": _tensorflow}
