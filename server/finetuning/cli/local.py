"""A fine-tune in this process: what `kelvin finetune` does between its options and the terminal."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from server.api.invalid_fields import describe_invalid_field
from server.api.schemas.finetuning import FinetuneRequest
from server.errors import InvalidRequestError, KelvinError
from server.files.store import FileStore
from server.finetuning.jobs.job import FinetuneJob, paths_of
from server.finetuning.jobs.running import check
from server.finetuning.jobs.validation import require_valid
from server.finetuning.jobs.worker_process import Workers, threads_of
from server.finetuning.plan import Plan
from server.finetuning.serving.classifiers import Classifiers
from server.finetuning.settling import plan_of
from server.jobs.job import Event, Job, Kind
from server.jobs.runner import JobRunner
from server.jobs.status import Status
from server.jobs.store import JobStore
from server.models.reference import parse_model_ref
from server.models.registry import Registry
from server.settings import Settings, revealed

POLL_S = 0.2
STOP_S = 15.0
_PIECE = 1 << 20

OnChange = Callable[[Job, list[Event]], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """The state of a data directory.

    Attributes:
        store: of jobs.
        files: that were uploaded.
        classifiers: that were published.
        settings: of this process.
    """

    store: JobStore
    files: FileStore
    classifiers: Classifiers
    settings: Settings


@contextmanager
def kept(settings: Settings) -> Iterator[Kept]:
    """Open the data directory; servers may use it at the same time.

    Args:
        settings: names it.

    Raises:
        StorageError: it cannot be used.
    """
    with ExitStack() as closings:
        store = closings.enter_context(closing(JobStore.open(settings.data_dir, revealed(settings.database_url))))
        classifiers = Classifiers(settings.data_dir, settings.loaded_classifiers)
        yield Kept(store, FileStore.open(settings.data_dir), classifiers, settings)


def read_request(values: dict[str, Any]) -> FinetuneRequest:
    """Check what was asked for.

    Args:
        values: the body of `POST /v1/fine_tuning/jobs`.

    Raises:
        InvalidRequestError: a value is of the wrong type or out of range; `param` names it.
    """
    try:
        return FinetuneRequest.model_validate(values)
    except ValidationError as error:
        failures = error.errors(include_url=False, include_context=False, include_input=False)
        raise describe_invalid_field(failures, FinetuneRequest) from None


def settle(request: FinetuneRequest, settings: Settings) -> Plan:
    """Settle a plan; its files are named by their paths still.

    Args:
        request: of the fine-tune.
        settings: name the models, the first one being that of a request that names none.

    Raises:
        KelvinError: the model is not there, or fields do not go together.
    """
    registry = Registry(settings.models_dir)
    refs = [parse_model_ref(name) for name in settings.models]
    return plan_of(request, {ref.name: partial(registry.locate, ref) for ref in refs}, framework=settings.framework)


def keep_file(files: FileStore, path: Path) -> str:
    """Copy a file into the data directory, so that the job can go on after this process; return its id.

    Raises:
        InvalidRequestError: it cannot be read, or is empty.
    """
    incoming = files.receive()
    try:
        with path.open("rb") as file:
            num_bytes = 0
            while piece := file.read(_PIECE):
                incoming.write(piece)
                num_bytes += len(piece)
        if num_bytes == 0:
            raise InvalidRequestError(f"{path} is empty; give a file that has rows")
        return incoming.publish(path.name, "fine-tune").id
    except (OSError, UnicodeError) as error:
        raise InvalidRequestError(f"{path} cannot be read: {error}; give a JSONL or CSV file") from error
    finally:
        incoming.discard()


def submit(state: Kept, plan: Plan, given: Mapping[str, Path]) -> Job:
    """Take files over, check them, and queue a plan for this process; of files that are refused nothing is left.

    Args:
        state: of the data directory.
        plan: whose files are named by their paths still.
        given: the paths, by the plan's field.

    Raises:
        InvalidFilesError: the files cannot be trained on.
        KelvinError: they cannot be read or kept.
    """
    ids: dict[str, str] = {}
    try:
        for field, path in given.items():
            ids[field] = keep_file(state.files, path)
        plan = plan.model_copy(update=ids)
        require_valid(check(plan, paths_of(plan, state.files)))
        return state.store.submit(Kind.FINETUNE, plan.model_dump(mode="json"))
    except KelvinError:
        for file_id in ids.values():
            state.files.delete(file_id)
        raise


def resume(state: Kept, job_id: str) -> None:
    """Queue a job for this process that was paused, or that a process has left behind that died.

    Raises:
        JobStateError: it has ended, or belongs to a process that lives.
    """
    taken = state.store.take_over(job_id)
    if not (taken and state.store.get(job_id).status is Status.QUEUED):
        state.store.resume(job_id)


def run(state: Kept, job_id: str, on_change: OnChange) -> Job:
    """Run a job that this process has queued, and return it as it is in the end; an interrupt pauses it.

    Args:
        state: of the data directory.
        job_id: of the job.
        on_change: told of the job and of its new events, again and again.
    """
    workers = Workers(threads_of(state.settings.worker_threads))
    runner = JobRunner(state.store, Kind.FINETUNE, FinetuneJob(state.files, state.classifiers, workers))
    news = _News(state.store, job_id)
    runner.start(adopt=False)
    try:
        return news.follow(on_change)
    except KeyboardInterrupt:
        state.store.pause(job_id)
        return news.follow(on_change)
    finally:
        runner.stop(STOP_S)


class _News:
    """What happens to a job from here on, each event told once however often it is followed."""

    def __init__(self, store: JobStore, job_id: str) -> None:
        self._store, self._job_id = store, job_id
        self._seen = store.last_events(job_id, limit=1)[0].number  # a job begins with one

    def follow(self, on_change: OnChange) -> Job:
        """Tell of what is new until the job has ended or is paused."""
        while True:
            job = self._store.get(self._job_id)
            events = self._store.events(self._job_id, after=self._seen)
            self._seen = events[-1].number if events else self._seen
            on_change(job, events)
            if job.ended or job.status is Status.PAUSED:
                return job
            time.sleep(POLL_S)
