"""Publish a folder whole or not at all, also when two processes make the same one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import ModelError


@contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Hand out an empty folder, and make it `target` when the block ends well.

    Args:
        target: what the folder becomes, in one rename; its parents are made. If another process was first, its folder
            stays and this one is thrown away.

    Yields:
        A folder on the same disk as `target`; it disappears when the block fails.

    Raises:
        ModelError: the disk is full, or the place cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as staging:
            # The temporary folder is private; a folder made inside it has the usual permissions.
            folder = Path(staging, "model")
            folder.mkdir()
            yield folder
            _rename(folder, target)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror or error}") from error


def _rename(folder: Path, target: Path) -> None:
    try:
        os.rename(folder, target)
    except OSError:
        if not target.is_dir():
            raise
