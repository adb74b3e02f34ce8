"""A PostgreSQL of the tests' own, on a socket in a temporary folder; without its programs, tests that need it skip."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

try:
    import psycopg
except ImportError:  # then there is no server to be asked
    psycopg = None


def _programs():
    """Return the folder of initdb and postgres; None: neither PATH nor the folders of Debian have them."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class PostgresServer:
    """A running server.

    Attributes:
        folder: of its socket and its data.
    """

    def __init__(self, programs, folder, user):
        self._as = {} if user is None else {"user": user, "cwd": "/"}
        self._programs, self.folder = programs, folder
        self._run("initdb", "-D", folder / "data", "-U", "kelvin", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    def start(self):
        command = [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder, "-h", "", "-F"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as)
        deadline_s = time.monotonic() + 30
        while True:
            try:
                return self._execute("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < deadline_s, (self.folder / "log").read_text()
                time.sleep(0.05)

    def new_database(self):
        """Make an empty database, and return its URL."""
        name = f"k{secrets.token_hex(6)}"
        self._execute(f"CREATE DATABASE {name}")
        return f"postgresql://kelvin@/{name}?host={self.folder}"

    def stop(self):
        self._process.kill()  # its data are thrown away
        self._process.wait()

    def _execute(self, statement):
        with psycopg.connect(host=str(self.folder), user="kelvin", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement)

    def _run(self, program, *arguments):
        subprocess.run([self._programs / program, *arguments], check=True, capture_output=True, **self._as)


@pytest.fixture(scope="session")
def postgres_server():
    programs = _programs()
    if programs is None or psycopg is None:
        pytest.skip("needs PostgreSQL and psycopg: apt-get install postgresql, pip install psycopg[binary]")
    user = None
    if os.getuid() == 0:  # which PostgreSQL does not run as
        user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
    with tempfile.TemporaryDirectory(prefix="kelvin-pg-", ignore_cleanup_errors=True) as folder:
        if user is not None:
            shutil.chown(folder, user)
        server = PostgresServer(programs, Path(folder), user)
        yield server
        server.stop()


EVERYWHERE = ("file", "sqlite", "postgresql")


def url_of(kind, request, folder):
    """Return the URL of a new database; None: that of the data folder.

    Args:
        kind: of `EVERYWHERE`.
        request: of the test.
        folder: of the test.
    """
    if kind == "file":
        return None
    if kind == "sqlite":
        return f"sqlite:///{folder}/shared.db"
    return request.getfixturevalue("postgres_server").new_database()
