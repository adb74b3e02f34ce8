"""Work: the state of a data directory and all that works on it, opened for `app.py` and closed together."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from server.comparison.job import ComparisonJob
from server.files.store import FileStore
from server.finetuning.jobs.job import FinetuneJob
from server.finetuning.jobs.service import Finetuning
from server.finetuning.jobs.validation import Validator
from server.finetuning.jobs.worker_process import Workers, threads_of
from server.finetuning.serving.classifiers import Classifiers
from server.finetuning.serving.classifying import Classifying
from server.finetuning.settling import Folders
from server.jobs.errors import StorageError
from server.jobs.job import Kind
from server.jobs.runner import Handler
from server.jobs.service import JobService
from server.jobs.store import JobStore
from server.loaded import LoadedModel
from server.models.reference import parse_model_ref
from server.settings import Settings, revealed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """What outlives a request; each part, or why it is not there.

    Attributes:
        jobs: comparisons and fine-tunes.
        files: uploaded ones.
        finetuning: what trains and answers with classifiers.
    """

    jobs: JobService | StorageError
    files: FileStore | StorageError
    finetuning: Finetuning | StorageError

    def close(self) -> None:
        """Stop; jobs that run go back into their queues."""
        if isinstance(self.finetuning, Finetuning):
            self.finetuning.close()
        if isinstance(self.jobs, JobService):
            self.jobs.close()


def open_work(settings: Settings, models: dict[str, LoadedModel]) -> Work:
    """Open the state and run its jobs; what cannot be used fails the routes that need it, and no other.

    Args:
        settings: name the data directory, and bound what runs.
        models: that are served, by name.
    """
    files = _open_files(settings)
    classifiers = Classifiers(settings.data_dir, settings.loaded_classifiers)
    workers = Workers(threads_of(settings.worker_threads, settings.finetune_jobs))
    handlers: dict[Kind, Handler] = {Kind.COMPARISON: ComparisonJob(lambda: models)}
    if isinstance(files, FileStore):
        handlers[Kind.FINETUNE] = FinetuneJob(files, classifiers, workers)
    try:
        store = JobStore.open(
            settings.data_dir, revealed(settings.database_url), at_once={Kind.FINETUNE: settings.finetune_jobs}
        )
        jobs = JobService(store, handlers)
    except StorageError as error:
        log.error("there will be no jobs: %s", error.message)
        return Work(error, files, error)
    if isinstance(files, StorageError):
        return Work(jobs, files, files)
    folders = _folders(settings, models)
    validator = Validator(jobs.store, files, workers)
    return Work(jobs, files, Finetuning(folders, validator, classifiers, Classifying(classifiers)))


def _folders(settings: Settings, models: Iterable[str]) -> Folders:
    """Tell how to find the folder of each model, which only a fine-tune asks for."""
    from server.models.registry import Registry

    refs = {ref.name: ref for ref in map(parse_model_ref, settings.models)}
    registry = Registry(settings.models_dir)
    return {name: partial(registry.locate, refs.get(name) or parse_model_ref(name)) for name in models}


def _open_files(settings: Settings) -> FileStore | StorageError:
    """Open the uploaded files; a folder that cannot be used fails the routes that need it, and no other."""
    try:
        return FileStore.open(settings.data_dir)
    except StorageError as error:
        log.error("there will be no files: %s", error.message)
        return error
