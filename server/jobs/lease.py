"""Leases: what tells the jobs of a living server from those that a dead one left behind."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session


class Lease(Protocol):
    """What a server holds for as long as it lives.

    Attributes:
        owner: its name, which its jobs have.
    """

    owner: str

    def reaches(self, owner: str, session: Session) -> bool:
        """Tell whether the jobs of a server have their files here."""

    def has_ended(self, owner: str, session: Session) -> bool:
        """Tell whether the jobs of a server may be taken over by this one."""

    def sweep(self) -> None:
        """Remove what dead servers left."""

    def release(self) -> None:
        """End the lease; the jobs still under it are free to be taken over."""


class FileLease:
    """A lock on a file, which the kernel lets go of when the process ends, however it ends.

    So there are no heartbeats to miss and no clocks to compare, and several servers can share a data directory of one
    machine, each with jobs of its own. A child that is forked without `exec` would keep its parent's lease alive.
    """

    def __init__(self, folder: Path) -> None:
        """Take a lease.

        Args:
            folder: of all leases; made if need be. On a local disk: network file systems lock differently.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder = folder
        self.owner = secrets.token_hex(8)
        folder.mkdir(parents=True, exist_ok=True)
        unseen = folder / f"{self.owner}.new"
        self._file = unseen.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unseen.rename(self._path(self.owner))  # a lease that can be seen is locked for as long as its owner lives

    def is_held(self, owner: str) -> bool:
        """Tell whether the server of a lease lives."""
        return _is_locked(self._path(owner))

    def reaches(self, owner: str, session: Session) -> bool:
        """Tell whether the jobs of a server have their files here: all that share a file lease do."""
        return True

    def has_ended(self, owner: str, session: Session) -> bool:
        """Tell whether the jobs of a server may be taken over: when it has died."""
        return not self.is_held(owner)

    def sweep(self) -> None:
        """Remove what dead servers left."""
        for path in self._folder.glob("*.lock"):
            if not _is_locked(path):
                path.unlink(missing_ok=True)

    def release(self) -> None:
        """End the lease; the jobs still under it are free to be taken over."""
        self._path(self.owner).unlink(missing_ok=True)
        self._file.close()

    def _path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"


def _is_locked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes waiting that want to be alone in the same folder.

    Args:
        folder: there already.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
