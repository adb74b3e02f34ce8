"""Build the CPU kernels with the machine's own C++ compiler, once, and hand them to torch as `torch.ops.kelvin`."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.cpp_extension import include_paths, library_paths

from samplers.xp.torch import use_kernels
from server.backends.cpu_library import SOURCES, find_compiler, load_library
from server.models.spec import DecoderSpec

_SOURCES = SOURCES
_ABI = "-DTORCH_TARGET_VERSION=0x020a000000000000"  # of torch 2.10
_LANES = 16  # floats that a kernel takes at once
_SAMPLER_KERNELS = ("append", "draw", "gumbel_noise", "measure", "process")
_HEAD_DIMS = {16, 32, 48, 64, 80, 96, 128, 256}


def kernels_fit(spec: DecoderSpec) -> bool:
    """Say whether the kernels can run a decoder: its widths must be whole numbers of vectors."""
    whole = all(width % _LANES == 0 for width in (spec.hidden_size, spec.intermediate_size))
    return whole and spec.head_dim in _HEAD_DIMS


@lru_cache(maxsize=1)
def load_kernels(cache_dir: Path) -> bool:
    """Build the kernels if this machine has not yet, and load them.

    Args:
        cache_dir: where the library is kept, named by sources, torch, compiler and processor; of no matter to a
            process that has loaded it already.

    Returns:
        Whether `torch.ops.kelvin` is there; False, after one warning with the remedy, where no compiler is found or the
        build fails.
    """
    compiler = find_compiler("torch")
    if compiler is None:
        return False
    if _loaded():  # torch ends a process that defines an operator twice
        return True
    loaded = load_library(
        torch.ops.load_library,
        compiler,
        [*sorted(_SOURCES.glob("*.cpp")), *sorted(_SOURCES.glob("torch/*.cpp"))],
        cache_dir=cache_dir,
        framework="torch",
        built_for=[torch.__version__, repr(sorted(torch.cpu.get_capabilities().items()))],
        flags=[_ABI, *(f"-I{path}" for path in include_paths())],
        links=[*(f"-L{path}" for path in library_paths()), "-ltorch_cpu", "-lc10"],
    )
    if not loaded:
        return False
    use_kernels(sampler_kernels())
    return True


def sampler_kernels() -> dict[str, Callable[..., Any]]:
    """Return the sampler's kernels by name, for `samplers.xp.torch.use_kernels`; they must have been loaded."""
    return {name: getattr(torch.ops.kelvin, name) for name in _SAMPLER_KERNELS}


def _loaded() -> bool:
    return hasattr(torch.ops.kelvin, "run_blocks")
