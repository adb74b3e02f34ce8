"""Trainings in a process to be killed.

    python -m tests.finetuning.training_that_dies FRAMEWORK NETWORKS FOLDER NAME…

Several networks are cross-fitted.
"""

import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from server.finetuning.training.train import train
from tests.finetuning.digits import a_plan, digit_splits


class Spoken:
    """A channel that prints."""

    should_stop = False

    def progress(self, fraction, *, epoch, step, eta_s):
        pass

    def event(self, type, message, *, level="info", data=None):
        print(message, flush=True)


if __name__ == "__main__":
    framework, networks, folder, *names = sys.argv[1:]
    count = int(networks)
    schedule = {"schedule": "cosine", "start": 2.0, "end": 0.5, "per": "step"}
    settings = {"n_epochs": 6, "batch_size": 20, "learning_rate": 0.002, "ensemble": count, "cross_fitted": count > 1}
    plan, splits = a_plan(framework, temperature=schedule, **settings), digit_splits(train=300)
    if count > 1:
        splits = replace(splits, calibration=splits.calibration.take(np.arange(0)))
    for name in names:
        (Path(folder) / name).mkdir(exist_ok=True)
        train(plan, splits, Path(folder) / name, Spoken())
        weights = load_file(Path(folder) / name / "classifier" / "weights.safetensors")
        print(
            "weights",
            *(f"{of} {zlib.crc32(values.tobytes()):08x}" for of, values in sorted(weights.items())),
            flush=True,
        )
