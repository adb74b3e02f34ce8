"""SharedLease: a lease in the database, for servers on several machines that share it."""

import logging
import secrets
import threading
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from server.jobs.database import Database
from server.jobs.errors import StorageError
from server.jobs.lease import FileLease
from server.jobs.schema import JobRow, LeaseRow
from server.jobs.status import ENDED

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
LASTS_S = 30.0  # after the last heartbeat
_HOME = "home.id"


class SharedLease:
    """A row that its owner renews every few seconds, by the database's clock.

    A server's jobs may be taken over by one that has the same data folder, which has their files: at once where the
    kernel of the machine that both run on says that the owner is gone, else when the lease has run out. A server that
    was taken for dead and is not finds its writes refused: the number of a job's run is a fencing token.
    """

    def __init__(self, database: Database, file: FileLease, data_dir: Path) -> None:
        """Take a lease, and renew it from a thread of its own.

        Args:
            database: has the row.
            file: locked beside it, for other servers of this machine.
            data_dir: of this server; gets a name of its own, in `home.id`.

        Raises:
            StorageError: the lease cannot be written.
        """
        self._database, self._file = database, file
        self.owner, self._home, self._host = file.owner, home_of(data_dir), running_system()
        self._ending = threading.Event()
        self.renew()
        self._thread = threading.Thread(target=self._keep, name="jobs-lease", daemon=True)
        self._thread.start()

    def renew(self) -> None:
        """Say that this server lives.

        Raises:
            StorageError: nobody can be told.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            row = LeaseRow(owner=self.owner, home=self._home, host=self._host)
            row.heartbeat_at, row.expires_at = now, now + LASTS_S
            session.merge(row)

    def reaches(self, owner: str, session: Session) -> bool:
        """Tell whether a server's jobs have their files here; of one that nobody knows, they are taken to."""
        row = session.get(LeaseRow, owner)
        return row is None or row.home == self._home

    def has_ended(self, owner: str, session: Session) -> bool:
        """Tell whether the jobs of a server may be taken over by this one.

        Args:
            owner: the server's.
            session: in a transaction.
        """
        row = session.get(LeaseRow, owner)
        if row is None:
            return not self._file.is_held(owner)
        if row.home != self._home:
            return False
        if row.host == self._host:
            return not self._file.is_held(owner)  # the kernel knows, however slow its heart beats
        return row.expires_at < self._database.now(session)

    def sweep(self) -> None:
        """Remove the leases that have run out and own nothing any more."""
        self._file.sweep()
        owners = select(JobRow.owner).where(JobRow.status.not_in(ENDED))
        with self._database.write() as session:
            now = self._database.now(session)
            session.execute(delete(LeaseRow).where(LeaseRow.expires_at < now - LASTS_S, LeaseRow.owner.not_in(owners)))

    def release(self) -> None:
        """End the lease; the row stays for as long as jobs depend on it, and has run out."""
        self._ending.set()
        self._thread.join(HEARTBEAT_S)
        try:
            with self._database.write() as session:
                row = session.get(LeaseRow, self.owner)
                if row is not None:
                    row.expires_at = 0.0
        except StorageError as error:
            log.warning("the lease of this server could not be ended, and runs out by itself: %s", error.message)
        self._file.release()

    def _keep(self) -> None:
        while not self._ending.wait(HEARTBEAT_S):
            try:
                self.renew()
            except StorageError as error:
                log.error("the lease of this server could not be renewed: %s", error.message)
            except Exception:  # whatever it is, the heart goes on beating
                log.exception("the lease of this server could not be renewed")


def home_of(data_dir: Path) -> str:
    """Return the name of a data folder, made up at the first time.

    Args:
        data_dir: there already; nobody else looks at it meanwhile.
    """
    path = data_dir / _HOME
    if not path.exists():
        unseen = data_dir / f".{_HOME}"
        unseen.write_text(secrets.token_hex(8), encoding="ascii")
        unseen.rename(path)
    return path.read_text(encoding="ascii")


def running_system() -> str:
    """Return what tells this machine, since it was started, from all others."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.exists() else secrets.token_hex(16)
