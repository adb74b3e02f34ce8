"""FileStore: uploaded files as folders of the data directory, each there whole or not at all."""

import fcntl
import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from pydantic import ValidationError

from server.errors import NotFoundError
from server.files.stored_file import Purpose, StoredFile, is_file_id, new_file_id
from server.jobs.failures import translated
from server.jobs.lease import alone_in

log = logging.getLogger(__name__)

_CONTENT = "content"
_ABOUT = "file.json"
_UNFINISHED = ".unfinished-"  # hidden, so that no id can mean it


class Incoming:
    """A file that is being received; `discard` it in the end, which undoes nothing that was published."""

    def __init__(self, root: Path) -> None:
        """Open a new file for writing.

        Args:
            root: of all files.

        Raises:
            StorageError: it cannot be written.
        """
        with translated(root):
            with alone_in(root):  # so that no sweep comes between the folder and its lock
                self._folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=root))
                self._lock = _lock(self._folder)
            self._content = (self._folder / _CONTENT).open("wb")

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            StorageError: they could not be written.
        """
        with translated(self._folder):
            self._content.write(data)

    def publish(self, filename: str, purpose: Purpose) -> StoredFile:
        """Make the file seen; on the disk when this returns.

        Args:
            filename: what the client called it, 1 to 255 characters.
            purpose: what it may be used for.

        Raises:
            StorageError: it could not be written.
        """
        root = self._folder.parent
        with translated(self._folder):
            _sync(self._content)
            about = StoredFile(
                id=new_file_id(),
                filename=filename,
                purpose=purpose,
                num_bytes=self._content.tell(),
                created_at=time.time(),
            )
            with (self._folder / _ABOUT).open("w", encoding="utf-8") as file:
                file.write(about.model_dump_json())
                _sync(file)
            sync_folder(self._folder)
            self._folder.rename(root / about.id)
            try:
                sync_folder(root)
            except OSError:  # who is told that it failed must not find it
                (root / about.id).rename(self._folder)
                raise
        return about

    def discard(self) -> None:
        """Close the file, and remove it if it was not published.

        Raises:
            StorageError: it could not be removed; the next start removes it.
        """
        with translated(self._folder):
            try:
                with suppress(OSError):  # a full disk may refuse what is buffered, which goes away all the same
                    self._content.close()
                if self._folder.exists():
                    shutil.rmtree(self._folder)
            finally:
                os.close(self._lock)


class FileStore:
    """Keeps files under one folder, a sub-folder each; safe to use from any thread, and by several processes."""

    def __init__(self, folder: Path) -> None:
        """Use a folder that `open` has made.

        Args:
            folder: of all files.
        """
        self._folder = folder

    @classmethod
    def open(cls, data_dir: Path) -> Self:
        """Open the files of a data directory, and remove what processes left half-written that have died.

        Args:
            data_dir: made if need be; on a local disk.

        Raises:
            StorageError: it cannot be written.
        """
        folder = data_dir / "files"
        with translated(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with alone_in(folder):
                for left in folder.glob(f"{_UNFINISHED}*"):
                    if not _in_use(left):
                        shutil.rmtree(left)
        return cls(folder)

    def receive(self) -> Incoming:
        """Open a new file for writing.

        Raises:
            StorageError: it cannot be written.
        """
        return Incoming(self._folder)

    def get(self, file_id: str) -> StoredFile:
        """Return what is known of a file.

        Raises:
            NotFoundError: there is no such file.
        """
        about = self._read(file_id) if is_file_id(file_id) else None
        if about is None:
            raise NotFoundError("there is no file of this id; GET /v1/files lists those there are", param="file_id")
        return about

    def list(self) -> list[StoredFile]:
        """Return all files, newest first."""
        with translated(self._folder):
            names = [entry.name for entry in self._folder.iterdir() if is_file_id(entry.name)]
        files = (self._read(name) for name in names)
        return sorted((file for file in files if file is not None), key=lambda file: (-file.created_at, file.id))

    def path_of(self, file_id: str) -> Path:
        """Return where a file's bytes are.

        Raises:
            NotFoundError: there is no such file.
        """
        return self._folder / self.get(file_id).id / _CONTENT

    def delete(self, file_id: str) -> None:
        """Delete a file; whoever has it open can read it to its end.

        Raises:
            NotFoundError: there is no such file.
            StorageError: it could not be removed.
        """
        folder = self._folder / self.get(file_id).id
        with translated(folder):
            going = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._folder))
            with suppress(FileNotFoundError):  # somebody else was first
                folder.rename(going / file_id)  # one step: half of a file is never seen
            shutil.rmtree(going)

    def _read(self, file_id: str) -> StoredFile | None:
        folder = self._folder / file_id
        if any(path.is_symlink() for path in (folder, folder / _ABOUT, folder / _CONTENT)):
            log.error("%s holds a link, which may lead out of the data directory; remove it", folder)
            return None
        try:
            with translated(self._folder), suppress(FileNotFoundError):  # perhaps deleted a moment ago
                return StoredFile.model_validate_json((folder / _ABOUT).read_bytes())
        except ValidationError:
            log.error("%s is damaged; remove it", self._folder / file_id)
        return None


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlast a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _in_use(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
