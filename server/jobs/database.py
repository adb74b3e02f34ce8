"""Database: the SQLite file of the store, its transactions, and its failures in words that name a remedy."""

import errno
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from server.jobs.changes import Changes
from server.jobs.errors import DiskFullError, StorageError
from server.jobs.schema import SCHEMA_VERSION, Base

BUSY_TIMEOUT_S = 10.0

_FULL = "its disk is full; free some space and try again: nothing was half written"
_BUSY = "another process has kept it locked; see which one has it open, and try again"
_DAMAGED = "it is damaged, or no SQLite file; put back a copy, or move it away for an empty one to be made at the start"
_CLOSED = "it cannot be opened for writing; mend its permissions, or set KELVIN_DATA_DIR to another folder"
_BROKEN = "the disk does not read or write it; look into the system's log"
_REMEDIES = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_IOERR: _BROKEN,
}


class Database:
    """One file, written by one transaction at a time and read beside it.

    Attributes:
        path: of the file.
        changes: notified of what a transaction has changed, once that is on the disk.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Open the file, and make it if there is none.

        Args:
            path: of the file; its folder is there.
            busy_timeout_s: how long to wait for another process to end its transaction.

        Raises:
            StorageError: the file cannot be opened, is damaged, or a newer Kelvin made it.
        """
        self.path = path
        self.changes = Changes()
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": busy_timeout_s},
            json_serializer=partial(json.dumps, allow_nan=False, separators=(",", ":")),
        )
        event.listen(self.engine, "connect", _prepare)
        event.listen(self.engine, "begin", _begin)
        self._writing = self.engine.execution_options(writing=True)
        try:
            with translated(path), self._writing.begin() as connection:
                _require_schema(connection, path)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that sees one moment and blocks nobody.

        Raises:
            StorageError: the file cannot be read.
        """
        with translated(self.path), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self, *changed: str) -> Iterator[Session]:
        """Open a transaction that nobody else writes beside; all of it is kept, or on an exception nothing.

        Args:
            changed: what those wait for who are woken after the commit: a job's id, or the kind of a queue.

        Raises:
            StorageError: the file cannot be written.
        """
        with translated(self.path), Session(self._writing) as session, session.begin():
            yield session
        self.changes.notify(*changed)

    def close(self) -> None:
        """Close the file."""
        self.engine.dispose()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn failures of SQLite and of the file system into a StorageError.

    Args:
        path: of the file or folder that is read or written.

    Raises:
        StorageError: names the path and the remedy.
    """
    try:
        yield
    except DBAPIError as error:
        raise _in_words(error.orig, path) from error
    except (sqlite3.Error, OSError) as error:  # bare from what prepares a connection, and from folders
        raise _in_words(error, path) from error


def _in_words(error: BaseException | None, path: Path) -> StorageError:
    if isinstance(error, OSError):
        if error.errno == errno.ENOSPC:
            return DiskFullError(f"{path} cannot be written: {_FULL}")
        return StorageError(f"{path} cannot be used: {error.strerror}; {_CLOSED}")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the higher bits tell of variants
    kind = DiskFullError if code == sqlite3.SQLITE_FULL else StorageError
    return kind(f"the job store {path} cannot be used: {_REMEDIES.get(code, error)}")


def _prepare(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # transactions begin in `_begin`, not where the driver thinks best
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the last commits with the power
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    # A transaction that turns from reading to writing can fail half-way; one that will write locks at once.
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _require_schema(connection: Connection, path: Path) -> None:
    version = connection.execute(text("PRAGMA user_version")).scalar_one()
    if version == SCHEMA_VERSION:
        return
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"the job store {path} has schema {version}, and this Kelvin knows schema {SCHEMA_VERSION}; install the "
            "newer Kelvin that made it, or set KELVIN_DATA_DIR to another folder"
        )
    if connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one():
        raise StorageError(f"{path} holds tables that are not Kelvin's; move the file away")
    Base.metadata.create_all(connection)
    connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
