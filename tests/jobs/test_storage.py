"""Files that are full, locked, damaged or not ours: an error that names file and remedy, nothing half done."""

import sqlite3
import threading
import time
from contextlib import closing

import pytest
from sqlalchemy import event

from server.api.failures import status_of
from server.jobs import runner
from server.jobs.database import Database
from server.jobs.errors import DiskFullError, StorageError
from server.jobs.job import Kind
from server.jobs.schema import SCHEMA_VERSION
from server.jobs.status import Status
from server.jobs.store import FILE_NAME, JobStore
from tests.fakes import wait_until


def refused(data_dir, match):
    with pytest.raises(StorageError, match=match) as caught:
        JobStore.open(data_dir).close()
    assert str(data_dir) in caught.value.message
    assert status_of(caught.value) == 503
    return caught.value


class Disk:
    """The room that a store has, which every connection is held to as by a disk."""

    def __init__(self, store):
        self._store = store
        self._max_pages = 1_000_000
        event.listen(store._database.engine, "checkout", self._hold)

    def _hold(self, connection, *_):
        connection.execute(f"PRAGMA max_page_count = {self._max_pages}")

    def fill_up(self, *, but_pages=0):
        with self._store._database.engine.connect() as connection:
            self._max_pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + but_pages

    def free(self):
        self._max_pages = 1_000_000


@pytest.fixture
def disk(store):
    return Disk(store)


BIG = {"text": "x" * 100_000}


def test_a_write_ahead_log_that_is_on_the_disk_at_every_commit(store):
    with store._database.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "user_version")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "user_version": SCHEMA_VERSION}


def test_a_full_disk_takes_back_what_was_being_written(store, disk):
    job = store.submit(Kind.COMPARISON, {})
    claim = store.claim(Kind.COMPARISON)
    claim.save_part("small", {"text": "kept"})
    before = (store.get(job.id), store.events(job.id))
    disk.fill_up()
    for write in (
        lambda: claim.save_part("big", BIG),
        lambda: claim.succeed(BIG),
        lambda: claim.save_part("small", BIG),
    ):
        with pytest.raises(DiskFullError, match="free some space") as caught:
            write()
        assert (caught.value.code, FILE_NAME in caught.value.message) == ("disk_full", True)
    assert (store.get(job.id), store.events(job.id)) == before
    assert (store.result(job.id), store.part(job.id, "small")) == (None, {"text": "kept"})
    disk.free()
    claim.succeed(BIG)
    assert store.result(job.id) == BIG


def test_a_result_that_finds_no_room_is_written_when_there_is_some(store, disk, run, monkeypatch):
    monkeypatch.setattr(runner, "RETRY_S", 0.02)
    full = threading.Event()

    def handler(job, context):
        disk.fill_up()
        full.set()
        return BIG

    run(handler)
    job = store.submit(Kind.COMPARISON, {})
    assert full.wait(10)
    time.sleep(0.1)
    assert store.get(job.id).status is Status.RUNNING
    disk.free()
    wait_until(lambda: store.get(job.id).status is Status.SUCCEEDED)
    assert store.result(job.id) == BIG


def test_a_part_that_finds_no_room_fails_its_job_and_says_why(store, disk, run):
    def handler(job, context):
        disk.fill_up(but_pages=4)
        context.save_part("big", BIG)

    run(handler)
    job = store.submit(Kind.COMPARISON, {})
    wait_until(lambda: store.get(job.id).ended)
    assert store.get(job.id).error["code"] == "disk_full"
    assert store.part_keys(job.id) == []


def test_a_file_that_another_process_keeps_locked(store, tmp_path):
    impatient = Database(tmp_path / FILE_NAME, busy_timeout_s=0.05)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="kept it locked"), impatient.write() as session:
            session.connection()
        assert store.list_jobs(Kind.COMPARISON, limit=1) == []  # reading goes on
        other.execute("ROLLBACK")
    impatient.close()
    assert store.submit(Kind.COMPARISON, {}).status is Status.QUEUED


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_file_that_is_no_database(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    refused(tmp_path, "damaged")
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_a_damaged_page_is_told_when_it_is_read(tmp_path):
    store = JobStore.open(tmp_path)
    for _ in range(200):
        store.submit(Kind.COMPARISON, BIG)
    store.close()
    path = tmp_path / FILE_NAME
    with path.open("r+b") as file:  # spares the first page, which holds the header
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    damaged = JobStore.open(tmp_path)
    with pytest.raises(StorageError, match="damaged"):
        damaged.list_jobs(Kind.COMPARISON, limit=100)
    damaged.close()


def test_a_newer_schema_is_left_alone(tmp_path):
    JobStore.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    refused(tmp_path, f"schema {SCHEMA_VERSION + 1}.*install the newer Kelvin")


def test_tables_that_are_not_ours_are_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    refused(tmp_path, "not Kelvin's")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "cannot be used")


def test_a_name_with_signs_that_mean_something_in_a_url(tmp_path):
    folder = tmp_path / "50% of #1? & more"
    store = JobStore.open(folder)
    store.submit(Kind.COMPARISON, {})
    store.close()
    assert (folder / FILE_NAME).stat().st_size > 0


def test_the_file_is_made_once_however_many_want_to(tmp_path):
    def make(folder):
        ready.wait()
        stores.append(JobStore.open(folder))

    for number in range(15):
        stores, ready = [], threading.Barrier(6)
        threads = [threading.Thread(target=make, args=(tmp_path / str(number),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(stores) == 6
        for store in stores:
            store.close()


def test_a_store_that_does_not_open_leaves_no_lease(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 100)
    refused(tmp_path, "damaged")
    assert list((tmp_path / "leases").iterdir()) == []
