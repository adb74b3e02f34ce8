"""Durable folders: written whole or not at all, whatever ends the process, and checked when they are read.

A folder is filled under another name, every file synced, its manifest with the SHA-256 of each last; then it gets its
name, in one step. So a folder with a name is complete, unless the disk has damaged it since, which the hashes tell.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from server.jobs.errors import DiskFullError, StorageError

MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished-"
_BLOCK = 1 << 20


class DamagedError(Exception):
    """A folder is not what was written; the message says in which way."""


def write_folder(folder: Path, files: Mapping[str, Callable[[Path], None]], manifest: dict[str, Any]) -> None:
    """Write a folder, in the place of one of this name.

    Args:
        folder: its parent exists.
        files: by name, each with what writes it to a path.
        manifest: JSON to keep with them; `files` is added, the SHA-256 of each.

    Raises:
        DiskFullError: there is no room; the folder is as it was before.
        StorageError: it cannot be written for another reason; likewise.
    """
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
        try:
            for name, write in files.items():
                write(unfinished / name)
            hashes = {name: _sha256(unfinished / name) for name in files}
            text = json.dumps(manifest | {"files": hashes}, indent=1, allow_nan=False)
            (unfinished / MANIFEST).write_text(text + "\n", encoding="utf-8")
            for name in (*files, MANIFEST, "."):
                _sync(unfinished / name)
            if folder.exists():
                shutil.rmtree(folder)
            unfinished.rename(folder)
            _sync(folder.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise _explained(folder, error) from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as safetensors.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        save_file({name: np.asarray(values, order="C") for name, values in arrays.items()}, path)
    except SafetensorError as error:  # which hides what the system said
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest, and leave its files alone; see `checked_manifest`.

    Raises:
        DamagedError: it is missing, or is no manifest.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest["files"], dict):
            raise TypeError("files is not an object")
    except OSError as error:
        raise DamagedError(f"{folder} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{folder / MANIFEST} is not a manifest: {error}") from error
    return manifest


def checked_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest, its files' hashes checked.

    Raises:
        DamagedError: a file is missing or is not what was written.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        try:
            if _sha256(folder / name) != expected:
                raise DamagedError(f"{folder / name} is not what was written: its SHA-256 differs")
        except OSError as error:
            raise DamagedError(f"{folder / name} cannot be read: {error}") from error
    return manifest


def remove_unfinished(parent: Path) -> None:
    """Remove what a process that was killed left half-written."""
    for unfinished in parent.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _explained(folder: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"there is no room to write {folder}; free some space on that disk and resume the job")
    return StorageError(f"{folder} cannot be written: {error}; check the disk and the rights of its folder")
