"""Artifacts: the files that a fine-tune leaves to be downloaded."""

from contextlib import suppress
from pathlib import Path

from server.errors import NotFoundError
from server.finetuning.jobs.job import PROGRESS
from server.finetuning.jobs.worker_process import LOG_NAME
from server.finetuning.serving.classifiers import Classifiers
from server.jobs.job import Job
from server.jobs.status import Status
from server.jobs.store import JobStore

TENSORBOARD = "tensorboard"
_OWN = (PROGRESS, LOG_NAME)


def artifacts(job: Job, store: JobStore, classifiers: Classifiers) -> dict[str, Path]:
    """Find a fine-tune's files: those of its classifier, its model card, and TensorBoard's.

    Args:
        job: of the fine-tune.
        store: where it is.
        classifiers: where its classifier is, if it has one and that was not deleted.

    Returns:
        Paths by name.
    """
    folder = store.folder(job.id)
    places = [folder, folder / TENSORBOARD]
    result = store.result(job.id) if job.status is Status.SUCCEEDED else None
    if result is not None:
        with suppress(NotFoundError):  # it was deleted since
            places.append(classifiers.path(result["classifier"]))
    return {
        path.name: path
        for place in places
        if place.is_dir()
        for path in sorted(place.iterdir())
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".") and path.name not in _OWN
    }
