"""Classifiers: the finished ones of a data directory, published by a rename, loaded when they are asked for."""

import os
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import NotFoundError
from server.files.store import sync_folder
from server.finetuning.plan import Plan
from server.jobs.failures import translated

if TYPE_CHECKING:
    from server.finetuning.training.classifier import Classifier

PREFIX = "ft:"
_NAME = re.compile(
    r"(?=.{1,200}\Z)ft:[A-Za-z0-9][A-Za-z0-9._-]*:[A-Za-z0-9_-]*:[0-9a-f]{8}"
)  # no file's name is longer
_GOING = ".going-"


def classifier_name(plan: Plan, job_id: str) -> str:
    """Name a job's classifier: `ft:`, the model, the suffix or nothing, and the end of the job's id.

    A rerun of the job has the same name, so that it is published once. The `/` of a hub's model becomes `--`.
    """
    return f"{PREFIX}{plan.model.replace('/', '--')}:{plan.suffix or ''}:{job_id[-8:]}"


class Classifiers:
    """The published classifiers; safe to use from any thread, except for what `load` returns.

    The most recently used ones stay in memory.
    """

    def __init__(self, data_dir: Path, capacity: int, load: "Callable[[Path], Classifier] | None" = None) -> None:
        """Use the classifiers of a data directory.

        Args:
            data_dir: has them in `classifiers`, a folder each.
            capacity: how many stay in memory, ≥ 1.
            load: reads a folder; None: `load_classifier`.
        """
        self._folder = data_dir / "classifiers"
        self._capacity = capacity
        self._load = load
        self._loaded: OrderedDict[str, Classifier] = OrderedDict()
        self._lock = threading.Lock()

    def publish(self, folder: Path, name: str) -> None:
        """Make a finished classifier one that can be asked; on the disk when this returns.

        Args:
            folder: of the classifier, on the same disk; it is moved. If it is not there, it has been moved already.
            name: see `classifier_name`.

        Raises:
            StorageError: it cannot be moved.
        """
        target = self._folder / name
        with translated(target):
            self._folder.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.rename(folder, target)
                sync_folder(self._folder)

    def names(self) -> list[str]:
        """Return the names of all, newest first."""
        with translated(self._folder):
            if not self._folder.exists():
                return []
            folders = [path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
            return [path.name for path in sorted(folders, key=lambda path: -path.stat().st_mtime)]

    def path(self, name: str) -> Path:
        """Return the folder of a classifier.

        Raises:
            NotFoundError: there is none of this name.
        """
        folder = self._folder / name
        if not (_NAME.fullmatch(name) and folder.is_dir() and not folder.is_symlink()):
            raise NotFoundError(
                "there is no classifier of this name; a fine-tune that has succeeded names its own in fine_tuned_model",
                param="model",
            )
        return folder

    def published_at(self, name: str) -> float:
        """Return when a classifier was published, in seconds of Unix time.

        Raises:
            NotFoundError: there is none of this name.
        """
        try:
            return self.path(name).stat().st_mtime
        except FileNotFoundError:  # deleted since it was found
            raise NotFoundError("there is no classifier of this name any more", param="model") from None

    def get(self, name: str) -> "Classifier":
        """Return a classifier, loaded if it is not in memory; for one thread at a time.

        Raises:
            NotFoundError: there is none of this name.
            ClassifierError: its folder is damaged.
            InvalidRequestError: its framework is not installed.
        """
        folder = self.path(name)
        with self._lock:
            classifier = self._loaded.pop(name, None)
            if classifier is None:
                while len(self._loaded) >= self._capacity:
                    self._loaded.popitem(last=False)  # before another one takes memory
                classifier = (self._load or _loader())(folder)
            self._loaded[name] = classifier
            return classifier

    def delete(self, name: str) -> None:
        """Delete a classifier.

        Raises:
            NotFoundError: there is none of this name.
            StorageError: it cannot be removed.
        """
        folder = self.path(name)
        with self._lock:
            self._loaded.pop(name, None)
        with translated(folder), tempfile.TemporaryDirectory(prefix=_GOING, dir=self._folder) as going:
            os.rename(folder, Path(going, "classifier"))  # one step: half of it is never loaded


def _loader() -> "Callable[[Path], Classifier]":
    from server.finetuning.training.classifier import load_classifier  # brings NumPy's companions, and then a framework

    return load_classifier
