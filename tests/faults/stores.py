"""What is written to the disk, each as a story: what came before, what is done, and what may be found afterwards.

`act` acknowledges each step as it ends. `found` counts the steps that can be seen by whoever opens the folder next, and
fails where something is half there; so what was acknowledged must be found, and at most one step more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from server.files.store import FileStore
from server.finetuning.training.checkpoints import Checkpoints
from server.jobs import runner
from server.jobs.job import Kind
from server.jobs.runner import JobRunner
from server.jobs.status import Status
from server.jobs.store import JobStore
from tests.fakes import wait_until

runner.RETRY_S = 0.01
BLOB = "x" * 5000
ROWS = bytes(range(256)) * 40


@dataclass(frozen=True)
class Story:
    """One of the stores.

    Attributes:
        prepare: makes what is there before; given the folder.
        act: does the steps; given the folder, and what to call after each.
        found: counts the steps that can be seen, in a folder that nobody uses.
        resume: goes on after a restart, and fails if it cannot.
        steps: how many there are.
    """

    prepare: Callable[[Any], None]
    act: Callable[[Any, Callable[[], None]], None]
    found: Callable[[Any], int]
    resume: Callable[[Any], None]
    steps: int


def prepare_jobs(folder):
    JobStore.open(folder).close()


def act_on_jobs(folder, acknowledge):
    store = JobStore.open(folder)
    try:
        store.submit(Kind.COMPARISON, {"blob": BLOB})
        acknowledge()
        claim = store.claim(Kind.COMPARISON)
        acknowledge()
        for number in range(2):
            claim.save_part(f"part-{number}", {"number": number, "blob": BLOB})
            acknowledge()
        claim.succeed({"done": True, "blob": BLOB})
        acknowledge()
    finally:
        store.close()


def jobs_found(folder):
    store = JobStore.open(folder)
    try:
        with store._database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        jobs = store.list_jobs(Kind.COMPARISON, limit=10)
        if not jobs:
            return 0
        [job] = jobs
        parts = [store.part(job.id, key) for key in store.part_keys(job.id)]
        assert parts == [{"number": number, "blob": BLOB} for number in range(len(parts))]
        statuses = [event.data["status"] for event in store.events(job.id) if event.type == "status"]
        steps = 1 + (job.status is not Status.QUEUED) + len(parts) + (job.status is Status.SUCCEEDED)
        assert statuses == ["queued", "running", "succeeded"][: {1: 1, 5: 3}.get(steps, 2)]
        assert (store.result(job.id) is not None) == (steps == 5)
        return steps
    finally:
        store.close()


def resume_jobs(folder):
    """Have the next server run whatever there is to its end, and a new job besides."""
    store = JobStore.open(folder)

    def work(job, context):
        for number in range(2):
            if context.part(f"part-{number}") is None:
                context.save_part(f"part-{number}", {"number": number, "blob": BLOB})
        return {"done": True, "blob": BLOB}

    jobs = JobRunner(store, Kind.COMPARISON, work)
    jobs.start()
    store.submit(Kind.COMPARISON, {"blob": ""})
    wait_until(lambda: all(job.status is Status.SUCCEEDED for job in store.list_jobs(Kind.COMPARISON, limit=10)))
    assert jobs.stop(10)
    store.close()


def act_on_files(folder, acknowledge):
    incoming = FileStore.open(folder).receive()
    try:
        for start in range(0, len(ROWS), 3000):
            incoming.write(ROWS[start : start + 3000])
        incoming.publish("rows.jsonl", "fine-tune")
        acknowledge()
    finally:
        incoming.discard()


def files_found(folder):
    store = FileStore.open(folder)
    files = store.list()
    assert all(store.path_of(file.id).read_bytes() == ROWS for file in files)
    left = {path.name for path in (folder / "files").iterdir()} - {file.id for file in files}
    assert not left, left
    return len(files)


def resume_files(folder):
    before = files_found(folder)
    act_on_files(folder, lambda: None)
    assert files_found(folder) == before + 1


def a_state(step):
    return {"weight": np.full((40, 30), step, np.float32)}


def checkpoints(folder):
    return Checkpoints(folder / "checkpoints", "plan", None)


def prepare_checkpoints(folder):
    checkpoints(folder).save(1, a_state(1), {"step": 1}, 1)


def act_on_checkpoints(folder, acknowledge):
    kept = checkpoints(folder)
    for step in (2, 3):
        kept.save(step, a_state(step), {"step": step}, step)
        acknowledge()


def checkpoints_found(folder):
    state, progress = checkpoints(folder).newest()  # with no channel to tell of damage: there is none
    np.testing.assert_array_equal(state["weight"], a_state(progress["step"])["weight"])
    assert not list((folder / "checkpoints").glob(".unfinished-*"))
    return progress["step"] - 1


def resume_checkpoints(folder):
    act_on_checkpoints(folder, lambda: None)
    assert checkpoints_found(folder) == 2


STORIES = {
    "jobs": Story(prepare_jobs, act_on_jobs, jobs_found, resume_jobs, 5),
    "files": Story(lambda folder: None, act_on_files, files_found, resume_files, 1),
    "checkpoints": Story(prepare_checkpoints, act_on_checkpoints, checkpoints_found, resume_checkpoints, 2),
}
