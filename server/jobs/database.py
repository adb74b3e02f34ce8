"""Database: where the store keeps its rows, SQLite or PostgreSQL, and the transactions on it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from sqlalchemy import URL, Connection, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from server.jobs import postgresql, sqlite
from server.jobs.changes import Changes
from server.jobs.errors import StorageError
from server.jobs.failures import translated
from server.jobs.schema import SCHEMA_VERSION, Base

BUSY_TIMEOUT_S = 10.0


class Database:
    """A database, written by one transaction at a time and read beside it.

    Attributes:
        place: path of its file, or its URL without the password.
        changes: notified of what a transaction has changed, once that is on the disk.
    """

    def __init__(self, place: Path | str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Open a database, and make its tables if there are none.

        Args:
            place: path of an SQLite file, whose folder is there; or a URL, `sqlite:…` or `postgresql:…`.
            busy_timeout_s: how long to wait for another process to end its transaction.

        Raises:
            StorageError: it cannot be opened, is damaged, or a newer Kelvin made it.
        """
        url = URL.create("sqlite", database=str(place)) if isinstance(place, Path) else parse_url(place)
        self.place = place if isinstance(place, Path) else url.render_as_string(hide_password=True)
        self.changes = Changes()
        self._dialect: ModuleType = _DIALECTS[url.get_backend_name()]
        serializer = partial(json.dumps, allow_nan=False, separators=(",", ":"))
        self.engine = self._dialect.open_engine(url, busy_timeout_s, json_serializer=serializer)
        writing = {"writing": True}
        if self._dialect is postgresql:
            writing["isolation_level"] = "READ COMMITTED"  # type: ignore[assignment]  # sees what others wrote before
        self._writing = self.engine.execution_options(**writing)
        try:
            with translated(self.place), self._writing.begin() as connection:
                self._require_schema(connection)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that sees one moment and blocks nobody.

        Raises:
            StorageError: the database cannot be read.
        """
        with translated(self.place), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self, *changed: str) -> Iterator[Session]:
        """Open a transaction that nobody else writes beside; all of it is kept, or on an exception nothing.

        Args:
            changed: what those wait for who are woken after the commit: a job's id, or the kind of a queue.

        Raises:
            StorageError: the database cannot be written.
        """
        with translated(self.place), Session(self._writing) as session, session.begin():
            yield session
        self.changes.notify(*changed)

    def now(self, session: Session) -> float:
        """Return the Unix time in seconds by the database's own clock, which all its processes share."""
        return float(session.execute(text(f"SELECT {self._dialect.NOW}")).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _require_schema(self, connection: Connection) -> None:
        version = self._dialect.schema_version(connection)
        if version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise StorageError(
                f"the job store {self.place} has schema {version}, and this Kelvin knows schema {SCHEMA_VERSION}; "
                "install the newer Kelvin that made it, or set KELVIN_DATA_DIR or KELVIN_DATABASE_URL to another"
            )
        if version == 0 and self._dialect.has_tables(connection):
            raise StorageError(f"{self.place} holds tables that are not Kelvin's; move the file away, or use another")
        Base.metadata.create_all(connection)  # of an older schema it lacks tables, and no column
        self._dialect.set_schema_version(connection, SCHEMA_VERSION)


_DIALECTS = {"sqlite": sqlite, "postgresql": postgresql}


def parse_url(given: str) -> URL:
    """Read the URL of a database.

    Args:
        given: `postgresql://user:password@host/name`, or `sqlite:////path/to/file`.

    Raises:
        StorageError: it is none that can be used; what was given is not repeated, as it may hold a password.
    """
    try:
        url = make_url(given)
    except ArgumentError:
        url = None
    if url is None or url.drivername not in ("sqlite", "postgresql", "postgresql+psycopg"):
        raise StorageError("KELVIN_DATABASE_URL must be postgresql://USER:PASSWORD@HOST/NAME or sqlite:////PATH")
    if url.drivername == "sqlite":
        if not url.database or url.database == ":memory:":
            raise StorageError("KELVIN_DATABASE_URL must name a file, as in sqlite:////var/lib/kelvin/jobs.db")
        return url
    if find_spec("psycopg") is None:
        raise StorageError("KELVIN_DATABASE_URL needs psycopg: pip install 'kelvin-server[postgresql]'")
    return url.set(drivername="postgresql+psycopg")
