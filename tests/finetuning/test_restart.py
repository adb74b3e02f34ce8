"""Servers that are killed at any moment of a fine-tune: the next one ends it, and no worker outlives its server."""

import fcntl
import os
from pathlib import Path

from tests.fakes import wait_until
from tests.finetuning.test_jobs import alive, begun


def kill(live):
    live.process.kill()
    live.process.wait()


def workers_of(live):
    """Return the processes whose parent is the server."""
    tasks = Path(f"/proc/{live.process.pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def test_a_killed_server_takes_its_workers_along_and_the_next_ends_every_job(serve_apart, tmp_path):
    live = serve_apart()
    jobs = live.client.fine_tuning.jobs
    running, queued, paused = live.create(epoch_ms=300, epochs=5), live.create(epochs=1), live.create(epochs=1)
    live.wait(paused.id, "queued")
    jobs.pause(paused.id)
    validating = live.create(epochs=1, suffix="slow-check")
    live.wait_for_epoch(running.id, 2)
    states = [live.job(own.id).status for own in (running, queued, paused, validating)]
    assert states == ["running", "queued", "paused", "validating_files"]
    workers = workers_of(live)
    assert len(workers) == 2, "one trains and one checks"
    kill(live)
    wait_until(lambda: not any(map(alive, workers)))

    again = serve_apart()
    assert again.wait(running.id).status == "succeeded"
    epochs = [epoch for epoch, _ in begun(tmp_path, running.id)]
    assert sorted(set(epochs)) == [1, 2, 3, 4, 5]
    assert len(epochs) <= 6, "no epoch that has a checkpoint is trained again"
    assert again.wait(queued.id).status == again.wait(validating.id).status == "succeeded"
    assert again.job(paused.id).status == "paused"
    again.client.fine_tuning.jobs.resume(paused.id)
    assert again.wait(paused.id).status == "succeeded"
    assert len(list((tmp_path / "classifiers").iterdir())) == 4


def test_a_worker_that_is_still_at_work_is_waited_for(serve_here, tmp_path):
    """Two workers never write to one folder, whatever started them."""
    live = serve_here()
    running = live.create(epoch_ms=300, epochs=1000)
    live.wait_for_epoch(running.id)
    job = live.create()
    live.wait(job.id, "queued")
    folder = tmp_path / "jobs" / job.id
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    live.client.fine_tuning.jobs.cancel(running.id)
    said = "another process still works on this job; waiting for its end"
    events = live.client.fine_tuning.jobs.list_events
    wait_until(lambda: said in [event.message for event in events(job.id).data], every_s=0.05)
    assert not (folder / "begun.txt").exists()
    os.close(held)
    assert live.wait(job.id).status == "succeeded"
