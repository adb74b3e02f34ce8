"""Event files, read back by TensorBoard's own reader."""

import subprocess
import sys

import pytest

from server.finetuning.outcome import Epoch
from server.finetuning.training.event_files import EventFiles
from server.finetuning.training.trainer import StepFigures

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

EPOCH = Epoch(
    number=1, temperature=2.0, learning_rate=0.01, loss=1.0, loss_at_one=0.9, gradient_norm=3.0, validation_nll=0.75,
    validation_nll_at_training=0.8, validation_accuracy=0.5, validation_macro_f1=0.4, validation_ece=0.1, seconds=1.0,
)  # fmt: skip


def read(folder):
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(own.step, own.value) for own in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_steps_and_epochs_are_read_back(tmp_path):
    with EventFiles(tmp_path) as files:
        for number in range(3):
            figures = StepFigures(loss=3.0 - number, loss_at_one=2.0, gradient_norm=0.5)
            files.step(number, figures, 2.0 - number / 2, 0.25)
        files.epoch(EPOCH)
    scalars = read(tmp_path)
    assert scalars["training/temperature"] == [(0, 2.0), (1, 1.5), (2, 1.0)]
    assert scalars["loss/at_training_temperature"] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert scalars["loss/at_one"][-1] == (2, 2.0)
    assert scalars["training/learning_rate"][0] == (0, 0.25)
    assert scalars["training/gradient_norm"][0] == (0, 0.5)
    assert scalars["validation/nll_at_one"] == [(2, 0.75)]
    assert scalars["validation/accuracy"] == [(2, 0.5)]
    assert len(scalars) == 10


def test_what_an_interrupted_run_wrote_after_its_checkpoint_is_forgotten(tmp_path):
    def run(steps, loss):
        with EventFiles(tmp_path) as files:
            for number in steps:
                files.step(number, StepFigures(loss, loss, 1.0), 1.0, 0.1)

    run(range(5), 4.0)
    run(range(3, 6), 1.0)
    assert read(tmp_path)["loss/at_one"] == [(0, 4.0), (1, 4.0), (2, 4.0), (3, 1.0), (4, 1.0), (5, 1.0)]


def test_no_framework_is_loaded_to_write_them(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from server.finetuning.training.event_files import EventFiles, StepFigures\n"
        "with EventFiles(Path(sys.argv[1])) as files: files.step(0, StepFigures(1.0, 1.0, 1.0), 1.0, 0.1)\n"
        "print({'torch', 'tensorflow'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"
    assert read(tmp_path)["loss/at_one"] == [(0, 1.0)]
