"""Servers that die: their jobs are taken over, finished parts are never made again, and nobody's jobs run twice."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from server.jobs.job import Kind
from server.jobs.orders import MAX_ATTEMPTS
from server.jobs.status import Status
from server.jobs.watching import wait_for_end
from tests.fakes import wait_until
from tests.jobs.server_that_dies import work

ROOT = Path(__file__).parents[2]


@pytest.fixture
def serve(tmp_path):
    """Start a server that submits a job to itself; return the process and the job's id."""
    processes = []

    def serve(*arguments):
        command = [sys.executable, "-m", "tests.jobs.server_that_dies", str(tmp_path), *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process, process.stdout.readline().strip()

    yield serve
    for process in processes:
        kill(process)
        process.stdout.close()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("parts_before", [1, 7, 20])
def test_a_server_killed_at_work_loses_at_most_the_part_it_was_at(serve, open_store, run, parts_before):
    process, job_id = serve()
    store = open_store()
    wait_until(lambda: len(store.part_keys(job_id)) >= parts_before)
    kill(process)
    kept = store.part_keys(job_id)
    assert store.get(job_id).status is Status.RUNNING

    run(work, of=store)
    job = asyncio.run(wait_for_end(store, job_id, 20.0))
    assert (job.status, job.run) == (Status.SUCCEEDED, 2)
    assert store.result(job_id) == {"squares": [number**2 for number in range(40)]}
    begun = Counter(line.split()[0] for line in (store.folder(job_id) / "begun.txt").read_text().splitlines())
    again = [key for key, times in begun.items() if times > 1]
    assert len(begun) == 40
    assert again in ([], [f"part-{len(kept):03d}"])
    assert "the server restarted; finished parts are kept" in [event.message for event in store.events(job_id)]


def test_a_living_server_keeps_its_jobs(serve, open_store, run):
    process, job_id = serve(3)
    store = open_store()
    wait_until(lambda: len(store.part_keys(job_id)) == 3)
    run(work, of=store)
    mine = store.submit(Kind.COMPARISON, {"parts": 2})
    assert asyncio.run(wait_for_end(store, mine.id, 10.0)).status is Status.SUCCEEDED
    assert (store.get(job_id).status, store.get(job_id).run) == (Status.RUNNING, 1)
    kill(process)


def test_a_job_that_kills_its_server_again_and_again_fails(open_store):
    first = open_store()
    job = first.submit(Kind.COMPARISON, {})
    first.close()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert die_at_work(open_store()).attempts == attempt
    store = open_store()
    store.adopt(Kind.COMPARISON)
    failed = store.get(job.id)
    assert (failed.status, failed.error["code"]) == (Status.FAILED, "too_many_attempts")
    assert "stopped 3 times" in failed.error["message"]


def test_a_job_that_gets_on_is_tried_for_ever(open_store):
    first = open_store()
    job = first.submit(Kind.COMPARISON, {})
    first.close()
    for number in range(3 * MAX_ATTEMPTS):
        die_at_work(open_store(), part=f"part-{number}")
    store = open_store()
    store.adopt(Kind.COMPARISON)
    assert (store.get(job.id).status, store.get(job.id).attempts) == (Status.QUEUED, 2)
    assert len(store.part_keys(job.id)) == 3 * MAX_ATTEMPTS


def die_at_work(store, part=None):
    """Take over a job, begin it, and end without a word about it, as a process does that is killed."""
    store.adopt(Kind.COMPARISON)
    claim = store.claim(Kind.COMPARISON)
    if part is not None:
        claim.save_part(part, {})
    store.close()
    return claim.job


@pytest.mark.parametrize(
    ("order", "status"), [("cancel", Status.CANCELLED), ("pause", Status.PAUSED), (None, Status.QUEUED)]
)
def test_an_order_that_the_dead_server_did_not_carry_out_still_holds(open_store, order, status):
    dead, store = open_store(), open_store()
    job = dead.submit(Kind.COMPARISON, {})
    dead.claim(Kind.COMPARISON)
    dead.close()
    if order is not None:
        getattr(store, order)(job.id)
    store.adopt(Kind.COMPARISON)
    assert store.get(job.id).status is status


@pytest.mark.parametrize("status", [Status.QUEUED, Status.VALIDATING_FILES])
def test_what_waited_in_a_dead_server_runs_in_the_next(open_store, run, status):
    dead, store = open_store(), open_store()
    job = dead.submit(Kind.COMPARISON, {"parts": 1}, status=status)
    paused = dead.submit(Kind.COMPARISON, {"parts": 1})
    dead.pause(paused.id)
    dead.close()
    run(work, of=store)
    assert asyncio.run(wait_for_end(store, job.id, 10.0)).status is Status.SUCCEEDED
    assert store.get(paused.id).status is Status.PAUSED
    store.resume(paused.id)
    assert asyncio.run(wait_for_end(store, paused.id, 10.0)).status is Status.SUCCEEDED


def test_the_leases_of_the_dead_are_swept_away(serve, open_store, tmp_path):
    process, _ = serve(0)
    store = open_store()
    kill(process)
    assert len(list((tmp_path / "leases").iterdir())) == 2
    store.adopt(Kind.COMPARISON)
    assert len(list((tmp_path / "leases").iterdir())) == 1
