"""SQLite as the store of jobs; `postgresql.py` has the same functions in the same order."""

import sqlite3
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text

NOW = "(julianday('now') - 2440587.5) * 86400.0"
"""Unix time in seconds by the database's clock, as SQL."""


def open_engine(url: URL, busy_timeout_s: float, **options: Any) -> Engine:
    """Prepare connections to a file.

    Args:
        url: names the file.
        busy_timeout_s: how long to wait for another process to end its transaction.
        options: of every engine.
    """
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s}, **options)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def schema_version(connection: Connection) -> int:
    """Return the version that a file says it has; 0: none was written."""
    return int(connection.execute(text("PRAGMA user_version")).scalar_one())


def set_schema_version(connection: Connection, version: int) -> None:
    """Write down which version the tables have."""
    connection.execute(text(f"PRAGMA user_version = {version}"))


def has_tables(connection: Connection) -> bool:
    """Tell whether there are tables, whoever made them."""
    return bool(connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one())


def _prepare(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # transactions begin in `_begin`, not where the driver thinks best
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the last commits with the power
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    # A transaction that turns from reading to writing can fail half-way; one that will write locks at once.
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
