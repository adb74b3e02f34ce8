"""Validation: the files of a fine-tune are looked at before it is queued, in a process of its own."""

import logging
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from server.errors import InvalidRequestError, KelvinError, UnavailableError
from server.files.store import FileStore
from server.finetuning.jobs.job import paths_of
from server.finetuning.jobs.worker_lines import Order
from server.finetuning.jobs.worker_process import RefusedError, Workers
from server.finetuning.plan import Plan
from server.jobs.errors import JobStateError, StorageError
from server.jobs.job import Job
from server.jobs.store import JobStore

log = logging.getLogger(__name__)

CHECK_S = 0.1


class InvalidFilesError(InvalidRequestError):
    """The files cannot be trained on; code and param are the check's.

    Attributes:
        bad_lines: as the check lists them.
    """

    def __init__(
        self, message: str, *, code: str, param: str | None, bad_lines: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(message, param=param)
        self.code, self.bad_lines = code, bad_lines


class Validator:
    """Checks the files of plans; one job after another, and a dry run beside them."""

    def __init__(self, store: JobStore, files: FileStore, workers: Workers) -> None:
        """Prepare.

        Args:
            store: where the jobs are.
            files: has their files.
            workers: starts a process for each check, so that a large file holds up no request.
        """
        self._store = store
        self._files = files
        self._workers = workers
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="validate")

    def check(self, plan: Plan) -> dict[str, Any]:
        """Say what a training would make of its files.

        Args:
            plan: of the fine-tune.

        Raises:
            NotFoundError: a file is not there.
            KelvinError: the check itself failed.
        """
        order = Order(task="check", plan=plan, files=paths_of(plan, self._files))
        with (
            tempfile.TemporaryDirectory(prefix="kelvin-check-") as folder,
            self._workers.start(order, Path(folder)) as worker,
        ):
            while not self._stopping.is_set():
                line = worker.next_line(CHECK_S)
                if line is not None and line.error is not None:
                    raise RefusedError(line.error.message, code=line.error.code, param=line.error.param)
                if line is not None and line.result is not None:
                    return line.result
                if line is not None and line.stopped:
                    break
        raise UnavailableError("the server is stopping; send the request to another one")

    def submitted(self, job: Job) -> None:
        """Check a job's files, in its turn, and queue it or fail it.

        Args:
            job: whose files are to be validated.
        """
        self._pool.submit(self._validate, job)

    def close(self) -> None:
        """Stop; what has not been checked is checked when its job runs, by the next server."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def _validate(self, job: Job) -> None:
        try:
            try:
                require_valid(self.check(Plan.model_validate(job.request)))
            except UnavailableError:
                return
            except InvalidFilesError as error:
                notes = [(place_of(line), {"bad_line": dict(line)}) for line in error.bad_lines]
                self._store.reject(job.id, error, notes)
            except KelvinError as error:
                self._store.reject(job.id, error)
            else:
                self._store.release(job.id)
        except JobStateError:
            log.debug("job %s was cancelled while its files were validated", job.id)
        except StorageError as error:
            log.error("what became of validating job %s could not be written: %s", job.id, error.message)
        except Exception:
            log.exception("validating job %s failed", job.id)
            self._store.reject(job.id, KelvinError("the files could not be validated; the server's log says why"))


def require_valid(found: dict[str, Any]) -> None:
    """Raise an error unless a check has found nothing that is wrong.

    Args:
        found: what `Validator.check` returns.

    Raises:
        InvalidFilesError: the first thing that is wrong.
    """
    if not found["valid"]:
        first = found["errors"][0]
        raise InvalidFilesError(
            first["message"], code=first["code"], param=first["param"], bad_lines=found["bad_lines"]
        )


def place_of(bad_line: Mapping[str, Any]) -> str:
    """Write a bad line in words: its file, its number, the field, and what is wrong.

    Args:
        bad_line: as a check lists it.
    """
    field = f", {bad_line['field']}" if bad_line["field"] is not None else ""
    return f"{bad_line['file']}, line {bad_line['line']}{field}: {bad_line['message']}"
