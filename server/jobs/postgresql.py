"""PostgreSQL as the store of jobs; `sqlite.py` has the same functions in the same order."""

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text

NOW = "extract(epoch from clock_timestamp())"
"""Unix time in seconds by the database's clock, as SQL."""

_WRITERS = 0x6B656C76696E  # "kelvin": the lock that writing transactions take in turn
_CONNECT_S = 5


def open_engine(url: URL, busy_timeout_s: float, **options: Any) -> Engine:
    """Prepare connections to a database.

    Args:
        url: names it.
        busy_timeout_s: how long to wait for another process to end its transaction.
        options: of every engine.
    """
    # Reading sees one moment; writing, which is alone, sees what was committed before each statement.
    timeouts = f"-c lock_timeout={int(1000 * busy_timeout_s)}"
    engine = create_engine(
        url,
        connect_args={"connect_timeout": _CONNECT_S, "application_name": "kelvin", "options": timeouts},
        pool_pre_ping=True,  # a database that was restarted is no reason to fail
        isolation_level="REPEATABLE READ",
        **options,
    )
    event.listen(engine, "begin", _begin)
    return engine


def schema_version(connection: Connection) -> int:
    """Return the version that the tables say they have; 0: none was written."""
    if connection.execute(text("SELECT to_regclass('kelvin_schema')")).scalar_one() is None:
        return 0
    return int(connection.execute(text("SELECT max(version) FROM kelvin_schema")).scalar_one() or 0)


def set_schema_version(connection: Connection, version: int) -> None:
    """Write down which version the tables have."""
    connection.execute(text("CREATE TABLE IF NOT EXISTS kelvin_schema (version integer NOT NULL)"))
    connection.execute(text("DELETE FROM kelvin_schema"))
    connection.execute(text("INSERT INTO kelvin_schema VALUES (:version)"), {"version": version})


def has_tables(connection: Connection) -> bool:
    """Tell whether there is a table of jobs already, whoever made it; others are none of ours."""
    return connection.execute(text("SELECT to_regclass('jobs')")).scalar_one() is not None


def _begin(connection: Connection) -> None:
    # One writer at a time, as in SQLite: what a transaction reads cannot change before it writes.
    if connection.get_execution_options().get("writing", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
