"""Trainings in a process to be killed: `python -m tests.finetuning.training_that_dies FRAMEWORK FOLDER NAME…`."""

import hashlib
import sys
from pathlib import Path

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
    framework, folder, *names = sys.argv[1:]
    schedule = {"schedule": "cosine", "start": 2.0, "end": 0.5, "per": "step"}
    plan = a_plan(framework, n_epochs=6, batch_size=20, learning_rate=0.002, temperature=schedule)
    for name in names:
        (Path(folder) / name).mkdir(exist_ok=True)
        train(plan, digit_splits(train=300), Path(folder) / name, Spoken())
        weights = Path(folder) / name / "classifier" / "weights.safetensors"
        print("weights", hashlib.sha256(weights.read_bytes()).hexdigest(), flush=True)
