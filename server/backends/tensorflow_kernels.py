"""Build Kelvin's own product with the machine's C++ compiler, once, and let XLA's programs on CPU call it."""

import ctypes
import os
import threading
from functools import lru_cache
from pathlib import Path

import tensorflow as tf

from server.backends.cpu_library import SOURCES, find_compiler, load_library
from server.backends.tensorflow_process import fingerprint

LINEAR = "kelvin_linear"  # the name by which programs call it

_registered = threading.Event()
_SOURCES = [SOURCES / "pool.cpp", SOURCES / "tensorflow" / "linear.cpp"]


def kernels_fit(dtype: tf.DType, device: str) -> bool:
    """Say whether the product can run a decoder: it multiplies float32, on CPU."""
    return device == "cpu" and dtype == tf.float32


@lru_cache(maxsize=1)
def load_kernels(cache_dir: Path) -> bool:
    """Build the product if this machine has not yet, and register it with XLA.

    Args:
        cache_dir: where the library is kept, named by sources, TensorFlow, compiler and processor; of no matter to a
            process that has loaded it already.

    Returns:
        Whether programs can call it; False, after one warning with the remedy, where no compiler is found or the build
        fails.
    """
    compiler = find_compiler("TensorFlow")
    if compiler is None:
        return False
    if _registered.is_set():  # XLA takes a name once
        return True
    folder = Path(tf.sysconfig.get_lib())
    return load_library(
        _register,
        compiler,
        _SOURCES,
        cache_dir=cache_dir,
        framework="TensorFlow",
        built_for=[fingerprint()],
        flags=[f"-I{tf.sysconfig.get_include()}", "-D_GLIBCXX_USE_CXX11_ABI=1"],
        links=[f"-L{folder}", *(f"-l:{path.name}" for path in folder.glob("libtensorflow_cc.so.*"))],
    )


def _register(library: Path) -> None:
    """Give XLA the product, with as many threads as TensorFlow has."""
    threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1
    if ctypes.CDLL(str(library)).kelvin_register(LINEAR.encode(), ctypes.c_int64(threads)):
        raise OSError(f"XLA does not take {library}")
    _registered.set()
