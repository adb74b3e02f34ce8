"""Event files: the course of a training for TensorBoard, a file for each time that it was started."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from server.finetuning.outcome import Epoch
from server.finetuning.trainer import StepFigures

FOLDER = "tensorboard"


class EventFiles:
    """Writes scalars by step: temperature, rate, losses and gradients of every step, validation of every epoch.

    The framing and the records are TensorBoard's own; its EventFileWriter would load all of TensorFlow where that is
    installed, for its file system alone.
    """

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        """Begin a file.

        Args:
            folder: of the job; files are kept in its `tensorboard`, which is made.
            first_step: that training goes on from. TensorBoard forgets what an interrupted run wrote from there on.
        """
        place = folder / FOLDER
        place.mkdir(parents=True, exist_ok=True)
        self._file = (place / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}.kelvin").open("xb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if first_step:
            started = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=first_step, session_log=started))
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def step(self, number: int, figures: StepFigures, *, temperature: float, learning_rate: float) -> None:
        """Keep what an optimiser step saw.

        Args:
            number: steps before it, in all.
            figures: of it.
            temperature: that its logits were divided by.
            learning_rate: that it was taken with.
        """
        self._scalars(
            number,
            {
                "training/temperature": temperature,
                "training/learning_rate": learning_rate,
                "loss/at_training_temperature": figures.loss,
                "loss/at_one": figures.loss_at_one,
                "training/gradient_norm": figures.gradient_norm,
            },
        )

    def epoch(self, number: int, epoch: Epoch) -> None:
        """Keep what the validation part said after an epoch, on disk at once.

        Args:
            number: of its last step.
            epoch: what was seen.
        """
        self._scalars(
            number,
            {
                "validation/nll_at_one": epoch.validation_nll,
                "validation/nll_at_training_temperature": epoch.validation_nll_at_training,
                "validation/accuracy": epoch.validation_accuracy,
                "validation/macro_f1": epoch.validation_macro_f1,
                "validation/ece": epoch.validation_ece,
            },
        )
        self.flush()

    def flush(self) -> None:
        """Put on disk what was kept."""
        self._records.flush()

    def close(self) -> None:
        """Put everything on disk and end the file."""
        self._records.close()

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        written = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=written)))

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
