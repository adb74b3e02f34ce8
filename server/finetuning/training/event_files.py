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
from server.finetuning.training import scalars
from server.finetuning.training.trainer import StepFigures

FOLDER = "tensorboard"


class EventFiles:
    """Writes scalars by step: temperature, rate, losses and gradients of every step, validation of every epoch.

    The framing and the records are TensorBoard's own; its EventFileWriter would load all of TensorFlow where that is
    installed, for its file system alone.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare to write; a file begins with the first step.

        Args:
            folder: of the job; files are kept in its `tensorboard`.
        """
        self._folder = folder / FOLDER
        self._records: RecordWriter | None = None
        self._last = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._records is not None:
            self._records.close()

    def step(self, number: int, figures: StepFigures, temperature: float, learning_rate: float) -> None:
        """Keep what an optimiser step saw.

        Args:
            number: steps before it, in all; TensorBoard forgets what an interrupted run wrote from there on.
            figures: of it.
            temperature: that its logits were divided by.
            learning_rate: that it was taken with.
        """
        if self._records is None:
            self._records = self._begin(number)
        self._last = number
        self._scalars(scalars.of_step(figures, temperature, learning_rate))

    def epoch(self, epoch: Epoch) -> None:
        """Keep what the validation part said after the last step, on disk at once.

        Args:
            epoch: what was seen.
        """
        self._scalars(scalars.of_epoch(epoch))
        self._opened().flush()

    def _begin(self, first: int) -> RecordWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}.kelvin"
        self._records = RecordWriter(path.open("xb"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if first:
            started = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=first, session_log=started))
        return self._records

    def _scalars(self, values: Mapping[str, float]) -> None:
        written = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(Event(wall_time=time.time(), step=self._last, summary=Summary(value=written)))

    def _write(self, event: Event) -> None:
        self._opened().write(event.SerializeToString())

    def _opened(self) -> RecordWriter:
        assert self._records is not None, "an epoch has steps"
        return self._records
