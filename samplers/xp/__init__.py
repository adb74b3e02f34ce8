"""The array namespace: each sampler is written once, against these few primitives with the Array API's names."""

from typing import Any


def namespace(array: Any) -> Any:
    """Return the module of primitives that fits an array.

    Args:
        array: a NumPy array, a torch or a TensorFlow tensor; anything else is a TypeError.
    """
    # Plain imports in branches: a framework is imported only when its arrays are there, and torch.compile traces them.
    framework = type(array).__module__.partition(".")[0]
    if framework == "numpy":
        from samplers.xp import numpy as xp
    elif framework == "torch":
        from samplers.xp import torch as xp  # type: ignore[no-redef]
    elif framework == "tensorflow":
        from samplers.xp import tensorflow as xp  # type: ignore[no-redef]
    else:
        raise TypeError(f"no array namespace for {type(array).__name__}; use NumPy, torch or TensorFlow")
    return xp
