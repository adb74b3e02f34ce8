"""What TensorFlow wants settled before its first operation in a process: XLA's cache, threads, device, precision."""

import hashlib
import os
import platform
from pathlib import Path

import tensorflow as tf

from server.errors import ModelError


def settle_process(device: str, threads: int, cache_dir: Path) -> str:
    """Prepare this process for a model; the models of one process ask for the same.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`; auto is a GPU where one is there.
        threads: CPU threads; 0 leaves TensorFlow's own choice.
        cache_dir: where XLA keeps compiled programs; of no matter to a process that has compiled before.

    Returns:
        `cpu` or `cuda:N`.

    Raises:
        ModelError: the device is not there.
    """
    programs = cache_dir / "xla" / fingerprint()
    programs.mkdir(parents=True, exist_ok=True)
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "--tf_xla_persistent_cache_directory" not in flags:  # XLA has no other switch for it, and reads it once
        os.environ["TF_XLA_FLAGS"] = f"{flags} --tf_xla_persistent_cache_directory={programs}".strip()
    if threads and tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.experimental.enable_tensor_float_32_execution(False)  # float32 means float32
    return _show_one_device(device)


def pick_dtype(dtype: str, device: str) -> tf.DType:
    """Return TensorFlow's type for a name; `auto` is bfloat16 on a GPU, else float32."""
    if dtype != "auto":
        return tf.as_dtype(dtype)
    return tf.float32 if device == "cpu" else tf.bfloat16


def _show_one_device(device: str) -> str:
    """Leave TensorFlow one device, where it then puts everything, and have it take memory as it goes."""
    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu" or (device == "auto" and not gpus):
        tf.config.set_visible_devices([], "GPU")
        return "cpu"
    number = int(device.partition(":")[2] or 0)
    if number >= len(gpus):
        raise ModelError(f"device is {device}, but TensorFlow sees {len(gpus)} GPUs here; use --device cpu or auto")
    tf.config.set_visible_devices(gpus[number], "GPU")
    if not tf.config.experimental.get_memory_growth(gpus[number]):
        tf.config.experimental.set_memory_growth(gpus[number], True)
    return f"cuda:{number}"


def fingerprint() -> str:
    """Return a name for what compiled programs depend on: TensorFlow and the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    processor = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    parts = (tf.__version__, platform.machine(), *processor)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
