"""Servers that share a database: no job runs twice, a server taken for dead is fenced off, and nothing leaks."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from server.jobs import runner, shared_lease
from server.jobs.database import Database, parse_url
from server.jobs.errors import JobStateError, StorageError
from server.jobs.interruptions import Superseded
from server.jobs.job import Kind
from server.jobs.schema import SCHEMA_VERSION, LeaseRow
from server.jobs.status import Status
from server.jobs.store import JobStore
from server.jobs.watching import wait_for_end
from tests.fakes import wait_until
from tests.jobs.postgres import url_of
from tests.jobs.server_that_dies import work

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    return url_of(request.param, request, tmp_path)


@pytest.fixture
def elsewhere(monkeypatch, open_store, tmp_path):
    """Open a store as a server of another machine does; by default with the same data folder."""

    def elsewhere(folder=tmp_path):
        with monkeypatch.context() as patch:
            patch.setattr(shared_lease, "running_system", lambda: "another machine")
            return open_store(folder)

    return elsewhere


def run_out(store):
    """Let a server's lease run out, as if it had been suspended for long."""
    store._lease._ending.set()
    store._lease._thread.join()
    with store._database.write() as session:
        session.execute(update(LeaseRow).where(LeaseRow.owner == store._lease.owner).values(expires_at=1.0))


def test_a_living_server_of_another_machine_keeps_its_jobs(open_store, elsewhere):
    here, there = open_store(), elsewhere()
    job = there.submit(Kind.COMPARISON, {})
    there.claim(Kind.COMPARISON)
    here.adopt(Kind.COMPARISON)
    assert here.claim(Kind.COMPARISON) is None
    assert (here.get(job.id).status, here.get(job.id).run) == (Status.RUNNING, 1)


def test_a_server_whose_lease_ran_out_is_fenced_off(open_store, elsewhere):
    here, there = open_store(), elsewhere()
    job = there.submit(Kind.COMPARISON, {})
    stale = there.claim(Kind.COMPARISON)
    stale.save_part("first", {"by": "there"})
    run_out(there)
    stale.report(0.5, None)  # nobody has taken it yet: what it says holds
    here.adopt(Kind.COMPARISON)
    for write in (
        lambda: stale.report(0.9, None),
        lambda: stale.save_part("first", {"by": "a ghost"}),
        lambda: stale.record("message", "boo", "info", None),
        lambda: stale.succeed({"by": "a ghost"}),
        lambda: stale.leave(Status.QUEUED),
        stale.now,
    ):
        with pytest.raises(Superseded):
            write()
    claim = here.claim(Kind.COMPARISON)
    assert (claim.job.id, claim.job.run, claim.job.attempts) == (job.id, 2, 2)
    with pytest.raises(Superseded):
        stale.succeed({"by": "a ghost"})
    assert here.part(job.id, "first") == {"by": "there"}
    claim.succeed({"by": "here"})
    assert there.result(job.id) == {"by": "here"}
    assert there.claim(Kind.COMPARISON) is None


def test_a_heart_that_beats_keeps_a_lease_for_ever(elsewhere, open_store, monkeypatch):
    monkeypatch.setattr(shared_lease, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(shared_lease, "LASTS_S", 0.5)
    here, there = open_store(), elsewhere()
    job = there.submit(Kind.COMPARISON, {})
    for _ in range(8):
        time.sleep(0.1)
        here.adopt(Kind.COMPARISON)
    assert here.claim(Kind.COMPARISON) is None
    run_out(there)
    here.adopt(Kind.COMPARISON)
    assert here.claim(Kind.COMPARISON).job.id == job.id


def test_of_one_machine_the_kernel_knows_who_lives(open_store):
    here, slow = open_store(), open_store()
    slow.submit(Kind.COMPARISON, {})
    run_out(slow)
    here.adopt(Kind.COMPARISON)
    assert here.claim(Kind.COMPARISON) is None, "its process lives, however slow its heart beats"
    slow._lease._file.release()
    here.adopt(Kind.COMPARISON)
    assert here.claim(Kind.COMPARISON) is not None


def test_a_server_with_another_data_folder_takes_no_jobs_whose_files_it_lacks(open_store, elsewhere, tmp_path):
    here, there = open_store(), elsewhere(tmp_path / "theirs")
    job = there.submit(Kind.FINETUNE, {})
    there.pause(job.id)
    run_out(there)
    here.adopt(Kind.FINETUNE)
    assert here.get(job.id).status is Status.PAUSED
    here.resume(job.id)
    assert here.claim(Kind.FINETUNE) is None
    assert there.claim(Kind.FINETUNE).job.id == job.id
    here.cancel(job.id)
    assert there.get(job.id).cancel_requested


def test_files_are_deleted_where_they_are(open_store, elsewhere, tmp_path):
    here, there = open_store(), elsewhere(tmp_path / "theirs")
    job = there.submit(Kind.FINETUNE, {})
    there.folder(job.id).mkdir(parents=True)
    there.cancel(job.id)
    with pytest.raises(JobStateError, match="data folder of another server"):
        here.delete(job.id)
    there.delete(job.id)
    assert not there.folder(job.id).exists()


def test_an_idle_server_takes_over_while_it_runs(open_store, elsewhere, run, monkeypatch):
    monkeypatch.setattr(runner, "ADOPT_EVERY_S", 0.05)
    monkeypatch.setattr(runner, "POLL_S", 0.05)
    here, there = open_store(), elsewhere()
    job = there.submit(Kind.COMPARISON, {"parts": 3})
    there.claim(Kind.COMPARISON)
    run(work, of=here)
    time.sleep(0.3)
    assert here.get(job.id).run == 1
    run_out(there)
    ended = asyncio.run(wait_for_end(here, job.id, 20.0))
    assert (ended.status, ended.run) == (Status.SUCCEEDED, 2)


def test_servers_that_claim_at_once_never_claim_the_same(open_store, tmp_path):
    """Each has connections of its own, as processes do, and all one owner, so that claims alone keep them apart."""
    first, second = open_store(), open_store()
    second._lease.owner = first._lease.owner
    ids = {first.submit(Kind.COMPARISON, {}).id for _ in range(30)}
    claimed, ready = [], threading.Barrier(4)

    def claim_all(store):
        ready.wait()
        while (claim := store.claim(Kind.COMPARISON)) is not None:
            claimed.append(claim.job.id)

    threads = [threading.Thread(target=claim_all, args=(store,)) for store in (first, second) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 30
    assert set(claimed) == ids


def test_events_of_writers_at_once_are_numbered_without_a_gap(open_store):
    stores = [open_store(), open_store()]
    job = stores[0].submit(Kind.COMPARISON, {})
    claim = stores[0].claim(Kind.COMPARISON)
    claims = [claim, type(claim)(stores[1]._database, claim.job)]

    def tell(own):
        for number in range(20):
            own.record("message", str(number), "info", None)

    threads = [threading.Thread(target=tell, args=(own,)) for own in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.number for event in stores[0].events(job.id)] == list(range(1, 43))


def test_a_killed_server_is_taken_over_by_the_next_at_once(tmp_path, database_url, open_store, run):
    command = [sys.executable, "-m", "tests.jobs.server_that_dies", str(tmp_path), "--url", database_url]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True)
    job_id = process.stdout.readline().strip()
    store = open_store()
    wait_until(lambda: len(store.part_keys(job_id)) >= 7)
    process.kill()
    process.communicate()
    run(work, of=store)
    job = asyncio.run(wait_for_end(store, job_id, 20.0))
    assert (job.status, job.run) == (Status.SUCCEEDED, 2)
    assert store.result(job_id) == {"squares": [number**2 for number in range(40)]}


def test_leases_that_own_nothing_are_swept_away(open_store, elsewhere):
    here, idle, busy = open_store(), elsewhere(), elsewhere()
    busy.pause(busy.submit(Kind.COMPARISON, {}).id)
    run_out(idle)
    run_out(busy)
    here._lease._ending.set()
    with here._database.read() as session:
        assert set(session.scalars(select(LeaseRow.home))) == {here._lease._home}
        assert len(session.scalars(select(LeaseRow)).all()) == 3
    here._lease.sweep()
    with here._database.read() as session:
        assert set(session.scalars(select(LeaseRow.owner))) == {here._lease.owner, busy._lease.owner}


def test_a_newer_schema_is_left_alone(open_store, database_url):
    store = open_store()
    with store._database.engine.begin() as connection:
        store._database._dialect.set_schema_version(connection, SCHEMA_VERSION + 1)
    with pytest.raises(StorageError, match=f"schema {SCHEMA_VERSION + 1}.*install the newer Kelvin"):
        Database(database_url)


def test_tables_of_schema_1_are_kept_and_those_it_lacks_are_made(open_store, database_url):
    store = open_store()
    job = store.submit(Kind.COMPARISON, {"kept": True})
    store.close()
    with store._database.engine.begin() as connection:
        connection.execute(text("DROP TABLE leases"))
        store._database._dialect.set_schema_version(connection, 1)
    again = open_store()
    assert again.get(job.id).request == {"kept": True}
    again.adopt(Kind.COMPARISON)
    assert again.claim(Kind.COMPARISON).job.id == job.id


@pytest.mark.parametrize("url", ["mysql://a:hidden@b/c", "hidden", "sqlite://", "postgresql+asyncpg://a:hidden@b/c"])
def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(url, database_url):
    with pytest.raises(StorageError, match="KELVIN_DATABASE_URL") as caught:
        parse_url(url)
    assert "hidden" not in caught.value.message


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path):
    url = f"postgresql://kelvin:hidden@/jobs?host={tmp_path}"
    with pytest.raises(StorageError, match=r"\*\*\*@.*does not answer") as caught:
        JobStore.open(tmp_path, url)
    assert "hidden" not in caught.value.message
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_database_that_was_restarted_is_used_again(request, tmp_path):
    server = request.getfixturevalue("postgres_server")
    store = JobStore.open(tmp_path, server.new_database())
    job = store.submit(Kind.COMPARISON, {})
    server.stop()
    with pytest.raises(StorageError, match="does not answer"):
        store.get(job.id)
    server.start()
    assert store.get(job.id).id == job.id
    store.close()
