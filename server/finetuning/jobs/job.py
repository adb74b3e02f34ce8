"""The job of a fine-tune: starts its worker, passes on what that says, and publishes the classifier."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from server.errors import NotFoundError
from server.files.store import FileStore
from server.finetuning.jobs.worker_lines import EventLine, Line, Order, ProgressLine
from server.finetuning.jobs.worker_process import RefusedError, Workers
from server.finetuning.outcome import Outcome
from server.finetuning.plan import Plan
from server.finetuning.reporting.card import model_card
from server.finetuning.serving.classifiers import Classifiers, classifier_name
from server.jobs.context import REPORT_EVERY_S, JobContext
from server.jobs.interruptions import Cancelled, Interrupted, Paused, Stopping
from server.jobs.job import Job

CHECK_S = 0.25
CANCEL_GRACE_S = 2.0
PAUSE_GRACE_S = 60.0  # a checkpoint of a whole model is gigabytes
STOP_GRACE_S = 8.0  # less than a stopping server waits for its jobs
SIGNAL_S = 30.0
OUTCOME = "outcome"
CLASSIFIER = "classifier"
CARD = "README.md"
CHECKPOINTS = "checkpoints"
PROGRESS = "progress.json"
EPOCH_PREFIX = "epoch-"


_GRACES_S: dict[type[Interrupted], float] = {
    Cancelled: CANCEL_GRACE_S,
    Paused: PAUSE_GRACE_S,
    Stopping: STOP_GRACE_S,
}


class FinetuneJob:
    """Handles the jobs of a JobRunner."""

    def __init__(self, files: FileStore, classifiers: Classifiers, workers: Workers) -> None:
        """Prepare for jobs.

        Args:
            files: that were uploaded.
            classifiers: where finished ones are published.
            workers: starts a process for each job.
        """
        self._files = files
        self._classifiers = classifiers
        self._workers = workers

    def __call__(self, job: Job, context: JobContext) -> dict[str, Any]:
        """Run a job's plan, and return the name of the classifier and the outcome as JSON.

        Args:
            job: its request is a plan.
            context: keeps the parts, and says when to stop.

        Raises:
            KelvinError: the rows or the settings do not allow it, or the worker has died.
        """
        plan = Plan.model_validate(job.request)
        outcome = context.part(OUTCOME)
        if outcome is None:
            outcome = self._train(plan, context)
            context.save_part(OUTCOME, outcome)
        name = classifier_name(plan, job.id)
        folder = context.folder / CLASSIFIER
        if folder.exists():  # else an earlier run has published it
            card = model_card(Outcome.model_validate(outcome), plan, name)
            (folder / CARD).write_text(card, encoding="utf-8")
        self._classifiers.publish(folder, name)
        shutil.rmtree(context.folder / CHECKPOINTS, ignore_errors=True)  # nobody goes on from them any more
        return {"classifier": name, OUTCOME: outcome}

    def _train(self, plan: Plan, context: JobContext) -> dict[str, Any]:
        order = Order(task="train", plan=plan, files=paths_of(plan, self._files))
        relay = _Relay(context)
        with self._workers.start(order, context.folder) as worker:
            try:
                while True:
                    context.raise_if_cancelled()
                    line = worker.next_line(CHECK_S)
                    if line is not None and line.last:
                        relay.finish()
                        return _result(line, context)
                    if line is not None:
                        relay(line)
            except Interrupted as interruption:
                worker.stop(_GRACES_S[type(interruption)])
                raise


class _Relay:
    """Passes on what a worker says, as often as the store can take it."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._written_s = 0.0
        self._last: ProgressLine | None = None

    def __call__(self, line: Line) -> None:
        if line.progress is not None:
            self._progress(line.progress)
        if line.event is not None:
            self._event(line.event)

    def _progress(self, progress: ProgressLine) -> None:
        if self._last is not None and progress.fraction < self._last.fraction:
            return  # further parts are read after training, and reading begins at 0
        self._context.report(min(max(progress.fraction, 0.0), 1.0), progress.eta_s)
        self._last, now_s = progress, time.monotonic()
        if now_s - self._written_s >= REPORT_EVERY_S:
            write_progress(self._context.folder, progress)
            self._written_s = now_s

    def finish(self) -> None:
        """Keep where the work ended."""
        if self._last is not None:
            write_progress(self._context.folder, self._last)

    def _event(self, event: EventLine) -> None:
        self._context.event(event.type, event.message, level=event.level, data=event.data)
        if event.type == "metrics" and "validation_nll" in event.data:
            # An epoch has a checkpoint, so a job that gets so far may be tried again.
            key = f"{EPOCH_PREFIX}{event.data['epoch']:06d}"
            self._context.save_part(key, event.data | {"created_at": time.time()})


def paths_of(plan: Plan, files: FileStore) -> dict[str, str]:
    """Find the files of a plan.

    Args:
        plan: names them by id.
        files: has them.

    Returns:
        Their paths by id.

    Raises:
        NotFoundError: one of them is not there; `param` names the field.
    """
    paths = {}
    for field in ("training_file", "validation_file", "test_file"):
        file_id = getattr(plan, field)
        if file_id is not None:
            paths[file_id] = str(_path_of(files, file_id, field))
    return paths


def write_progress(folder: Path, progress: ProgressLine) -> None:
    """Keep the epoch and the step for those who ask; it may be lost with the power, as nothing depends on it."""
    unseen = folder / f".{PROGRESS}"
    unseen.write_text(progress.model_dump_json(), encoding="utf-8")
    os.replace(unseen, folder / PROGRESS)


def read_progress(folder: Path) -> ProgressLine | None:
    """Return what was kept last; None: nothing yet."""
    try:
        return ProgressLine.model_validate(json.loads((folder / PROGRESS).read_bytes()))
    except FileNotFoundError:
        return None


def _path_of(files: FileStore, file_id: str, field: str) -> Path:
    try:
        return files.path_of(file_id)
    except NotFoundError:
        raise NotFoundError(
            f"{field} names no file that is there; upload it with POST /v1/files, and give the id of the answer",
            param=field,
        ) from None


def _result(line: Line, context: JobContext) -> dict[str, Any]:
    if line.error is not None:
        raise RefusedError(line.error.message, code=line.error.code, param=line.error.param)
    if line.result is not None:
        return line.result
    # Somebody else's signal: perhaps the system stops, and this server is the next to hear of it.
    deadline_s = time.monotonic() + SIGNAL_S
    while time.monotonic() < deadline_s:
        context.raise_if_cancelled()
        time.sleep(CHECK_S)
    raise RefusedError(
        "the training process was told to stop by another than this server; submit the job again",
        code="worker_stopped",
        param=None,
    )
