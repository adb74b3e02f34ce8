"""Checkpoints: where training goes on after an interruption, kept so that no moment of dying can lose more than one.

A checkpoint is a durable folder `step-00000123` with the trainer's state as safetensors; its manifest holds the
loop's own: epoch, curves, the best epoch so far. Of these the newest two are kept, and those whose weights are the
best that one of the two knows of.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from server.finetuning.channel import Channel
from server.finetuning.training.durable import (
    DamagedError,
    checked_manifest,
    read_manifest,
    remove_unfinished,
    write_arrays,
    write_folder,
)

_FORMAT = 1
_STATE = "state.safetensors"
_KEPT = 2


class Checkpoints:
    """The checkpoints of one training, in one folder."""

    def __init__(self, folder: Path, plan: str, channel: Channel) -> None:
        """Open or make the folder.

        Args:
            folder: for checkpoints alone.
            plan: what is trained on what, in any spelling; a checkpoint of another plan is not gone on with.
            channel: hears of checkpoints that cannot be used.
        """
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        self._folder, self._plan, self._channel = folder, plan, channel

    def save(self, step: int, state: dict[str, np.ndarray], progress: dict[str, Any], best_step: int | None) -> None:
        """Keep a checkpoint, and remove those that are no longer needed.

        Args:
            step: optimiser steps taken.
            state: of the trainer.
            progress: of the loop, JSON.
            best_step: of the checkpoint with the best weights so far, which may be this one; None: there is none yet.

        Raises:
            DiskFullError: there is no room; earlier checkpoints are as they were.
            StorageError: it cannot be written for another reason; likewise.
        """
        manifest = {
            "format": _FORMAT, "plan": self._plan, "step": step, "best_step": best_step, "progress": progress,
        }  # fmt: skip
        write_folder(self._path(step), {_STATE: lambda path: write_arrays(path, state)}, manifest)
        self._prune()

    def newest(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return the state and the progress of the newest checkpoint that is whole; None: training starts anew.

        One that is damaged, or whose best weights are, is told of, removed, and the one before it is used.
        """
        for folder in reversed(self._folders()):
            try:
                manifest = checked_manifest(folder)
                self._require_same_plan(folder, manifest)
                if manifest["best_step"] not in (None, manifest["step"]):
                    checked_manifest(self._path(manifest["best_step"]))
                return load_file(folder / _STATE), manifest["progress"]
            except (DamagedError, SafetensorError, KeyError) as error:
                message = f"checkpoint {folder.name} cannot be used: {error}; the one before it is tried"
                self._channel.event("message", message, level="warn", data={"checkpoint": folder.name})
                shutil.rmtree(folder, ignore_errors=True)
        return None

    def state(self, step: int) -> dict[str, np.ndarray]:
        """Return the state of a checkpoint that is kept.

        Raises:
            DamagedError: it is not what was written.
        """
        checked_manifest(self._path(step))
        return load_file(self._path(step) / _STATE)

    def _require_same_plan(self, folder: Path, manifest: dict[str, Any]) -> None:
        if manifest["format"] != _FORMAT:
            raise DamagedError(f"{folder} has format {manifest['format']}, and this Kelvin reads format {_FORMAT}")
        if manifest["plan"] != self._plan:
            raise DamagedError(f"{folder} is of another plan or other data")

    def _prune(self) -> None:
        folders = self._folders()
        kept = set(folders[-_KEPT:])
        for folder in folders[-_KEPT:]:
            try:
                best_step = read_manifest(folder)["best_step"]
            except (DamagedError, KeyError):  # told of when somebody wants to go on with it
                continue
            if best_step is not None:
                kept.add(self._path(best_step))
        for folder in set(folders) - kept:
            shutil.rmtree(folder)

    def _folders(self) -> list[Path]:
        return sorted(self._folder.glob("step-????????"))

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:08d}"
