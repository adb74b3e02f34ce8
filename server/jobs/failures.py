"""Failures of databases and file systems, in words that name what failed and the remedy, and never a password."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from server.jobs.errors import DiskFullError, StorageError

_FULL = "its disk is full; free some space and try again: nothing was half written"
_BUSY = "another process has kept it locked; see which one has it open, and try again"
_DAMAGED = "it is damaged, or no SQLite file; put back a copy, or move it away for an empty one to be made at the start"
_CLOSED = "it cannot be opened for writing; mend its permissions, or set KELVIN_DATA_DIR to another folder"
_BROKEN = "the disk does not read or write it; look into the system's log"
_OF_SQLITE = {
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
_DENIED = "it lets this user do no such thing; mend the rights of the user in KELVIN_DATABASE_URL"
_OF_SQLSTATE = {  # by code or class, https://www.postgresql.org/docs/current/errcodes-appendix.html
    "53100": _FULL,
    "55P03": "another process has kept it locked; see pg_stat_activity for which one, and try again",
    "57014": "it took too long to answer; see whether it is overloaded, and try again",
    "53300": "it has too many connections; raise max_connections, or run fewer servers",
    "3D000": "it has no database of that name; create it, or mend KELVIN_DATABASE_URL",
    "28": "it does not know this user or password; mend KELVIN_DATABASE_URL",
    "42501": _DENIED,
    "25006": "it is read-only, perhaps a standby; name the primary in KELVIN_DATABASE_URL",
}
_AWAY = (
    "it does not answer, or does not let this user in; see that it runs and can be reached from here, and mend "
    "KELVIN_DATABASE_URL"
)


@contextmanager
def translated(place: Path | str) -> Iterator[None]:
    """Turn failures of a database and of the file system into a StorageError.

    Args:
        place: file, folder or URL without a password that is read or written.

    Raises:
        StorageError: names the place and the remedy.
    """
    try:
        yield
    except DBAPIError as error:
        raise _in_words(error.orig, place) from error
    except (sqlite3.Error, OSError) as error:  # bare from what prepares a connection, and from folders
        raise _in_words(error, place) from error


def _in_words(error: BaseException | None, place: Path | str) -> StorageError:
    if isinstance(error, OSError):
        if error.errno == errno.ENOSPC:
            return DiskFullError(f"{place} cannot be written: {_FULL}")
        return StorageError(f"{place} cannot be used: {error.strerror}; {_CLOSED}")
    remedy = _remedy(error)
    kind = DiskFullError if remedy is _FULL else StorageError
    return kind(f"the job store {place} cannot be used: {remedy}")


def _remedy(error: BaseException | None) -> str:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the higher bits tell of variants
        return _OF_SQLITE.get(code, str(error))
    state = getattr(error, "sqlstate", None)
    if state is None:
        return _AWAY  # the driver has no code for what happened before it was let in
    return _OF_SQLSTATE.get(state) or _OF_SQLSTATE.get(state[:2]) or f"{type(error).__name__}, code {state}"
