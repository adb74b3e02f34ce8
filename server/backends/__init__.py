"""Backends: a model on a framework. Naming one here is the only branch on a framework's name."""

import os
from typing import Any

from server.backends.base import Backend
from server.errors import ModelError
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights


def load_backend(framework: str, spec: DecoderSpec, weights: DecoderWeights, **options: Any) -> Backend:
    """Load a model into a framework; the framework is imported here and not before.

    Args:
        framework: `torch`.
        spec: the decoder's shape.
        weights: its arrays.
        options: `dtype`, `device`, `num_slots`, `max_length`, `compile`, `threads`, `cache_dir`; see `TorchBackend`.

    Raises:
        ModelError: the framework is not supported or not installed.
    """
    # Torch's own loops are few beside the kernels'; their idle threads must not spin on cores that the kernels need.
    # The runtime reads this once, when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if framework != "torch":
        raise ModelError(f"framework {framework!r} is not supported by this version; supported: torch")
    try:
        from server.backends.torch import TorchBackend
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModelError("torch is not installed; install it with: pip install 'kelvin-server[torch]'") from error
    return TorchBackend(spec, weights, **options)
