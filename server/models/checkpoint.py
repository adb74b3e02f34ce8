"""Checkpoint: the tensors of a folder of safetensors files, each checked as it is taken."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - NumPy knows bfloat16 only once this is imported
import numpy as np
from safetensors import SafetensorError, safe_open

from server.errors import ModelError
from server.models.json_file import read_json

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
# Type in the file → unsigned integer of the same width, and the bits of the exponent: all set means infinity or NaN.
_EXPONENTS: dict[str, tuple[type, int]] = {
    "F32": (np.uint32, 0x7F800000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
}
_BLOCK = 1 << 22  # elements looked at together, so that the test of a large matrix needs little memory


def weight_files(folder: Path) -> list[Path]:
    """Find the safetensors files that hold a model's weights.

    Args:
        folder: a model folder with `model.safetensors`, or with shards and their index.

    Returns:
        The files, at least one; all lie directly in the folder.

    Raises:
        ModelError: there is no such file, the index is wrong or leads out of the folder, or there are only pickles.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if (folder / INDEX_FILE).is_file():
        return _shards(folder)
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in _PICKLES)
    if pickles:
        raise ModelError(
            f"{folder}: the weights are pickled ({pickles[0]}), and a pickle can run code when it is read; supported: "
            f"{WEIGHTS_FILE}. Convert it where you trust it: load it with transformers, then save_pretrained"
        )
    raise ModelError(f"{folder}: no weights; supported: {WEIGHTS_FILE}, or shards with {INDEX_FILE}")


def _shards(folder: Path) -> list[Path]:
    index = folder / INDEX_FILE
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index}: weight_map must be an object that names a file for each tensor")
    for tensor, name in weight_map.items():
        # By name, not by resolved path: a download cache keeps its files behind links.
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                f"{index}: the file of {tensor} must be the name of a .safetensors file in the same folder"
            )
    shards = [folder / name for name in sorted(set(weight_map.values()))]
    missing = next((shard for shard in shards if not shard.is_file()), None)
    if missing is not None:
        raise ModelError(f"{missing} is missing; {INDEX_FILE} names it: copy the whole folder")
    return shards


class Checkpoint:
    """Tensors by name, the base model's prefix taken off; use `open_checkpoint` to make one."""

    def __init__(self, folder: Path, files: dict[Path, Any], prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self._sources: dict[str, tuple[Path, Any, str]] = {}
        for path, handle in files.items():
            for stored in handle.offset_keys():
                name = stored.removeprefix(prefix)
                if name in self._sources:
                    raise ModelError(f"{path}: tensor {stored} is there twice; copy or save the model again")
                self._sources[name] = (path, handle, stored)
        self._left = set(self._sources)

    def __contains__(self, name: str) -> bool:
        return name in self._sources

    def left(self) -> list[str]:
        """Return the names of the tensors that nobody took, in order."""
        return sorted(self._left)

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Read one tensor.

        Args:
            name: without the base model's prefix.
            shape: what it must be.

        Returns:
            float32, float16 or bfloat16 as in the file; all values are finite.

        Raises:
            ModelError: the tensor is missing, of another type or shape, unreadable, or holds infinity or NaN.
        """
        if name not in self._sources:
            raise ModelError(f"{self._folder}: tensor {self._prefix}{name} (or {name}) is missing from the weights")
        path, handle, stored = self._sources[name]
        self._left.discard(name)
        header = handle.get_slice(stored)
        kind, found = header.get_dtype(), tuple(header.get_shape())
        if kind not in _EXPONENTS:
            raise ModelError(f"{path}: tensor {stored} is of type {kind}; supported: {', '.join(_EXPONENTS)}")
        if found != shape:
            raise ModelError(f"{path}: tensor {stored} has shape {list(found)}; config.json asks for {list(shape)}")
        try:
            tensor: np.ndarray = handle.get_tensor(stored)
        except SafetensorError as error:
            raise ModelError(f"{path}: tensor {stored} cannot be read ({error}); copy the file again") from error
        if not _all_finite(tensor, *_EXPONENTS[kind]):
            raise ModelError(f"{path}: tensor {stored} holds values that are not finite; copy or train the model again")
        return tensor


@contextmanager
def open_checkpoint(folder: Path, prefix: str) -> Iterator[Checkpoint]:
    """Open a folder's weights for reading.

    Args:
        folder: a model folder; see `weight_files`.
        prefix: start of the names that a checkpoint may leave out.

    Raises:
        ModelError: a file is missing, cut short or damaged, or a tensor is there twice.
    """
    with ExitStack() as stack:
        files: dict[Path, Any] = {}
        for path in weight_files(folder):
            try:
                files[path] = stack.enter_context(safe_open(path, framework="numpy"))
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{path} is cut short or damaged ({error}); copy it again") from error
        yield Checkpoint(folder, files, prefix)


def _all_finite(tensor: np.ndarray, integer: type, exponent: int) -> bool:
    bits: np.ndarray = tensor.reshape(-1).view(integer)
    blocks = (bits[start : start + _BLOCK] for start in range(0, bits.size, _BLOCK))
    return not any(np.any((block & integer(exponent)) == exponent) for block in blocks)
