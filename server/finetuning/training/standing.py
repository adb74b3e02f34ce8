"""Standing: where a training stands between two steps, as a checkpoint keeps it beside the trainer's own state."""

from pydantic import BaseModel, ConfigDict

from server.finetuning.outcome import Epoch
from server.finetuning.training.first_steps import COUNT
from server.finetuning.training.trainer import StepFigures


class Sums(BaseModel):
    """What the steps of an epoch add up to so far."""

    model_config = ConfigDict(extra="forbid")

    rows: int = 0
    steps: int = 0
    loss: float = 0.0
    loss_at_one: float = 0.0
    gradient_norm: float = 0.0
    seconds: float = 0.0

    def add(self, figures: StepFigures, rows: int, seconds: float) -> None:
        """Add a step: losses count by rows, gradients by steps."""
        self.rows, self.steps = self.rows + rows, self.steps + 1
        self.loss += figures.loss * rows
        self.loss_at_one += figures.loss_at_one * rows
        self.gradient_norm += figures.gradient_norm
        self.seconds += seconds


class Standing(BaseModel):
    """Where a training stands.

    Attributes:
        step: optimiser steps taken.
        epochs: those that are over, with what validation said.
        sums: of the epoch that is under way.
        best_epoch: number of the best one so far; 0: none is over.
        best_step: steps taken at its end.
        best_score: its score, lower is better.
        first: figures of the first steps, which tell why training is slow to learn.
    """

    model_config = ConfigDict(extra="forbid")

    step: int = 0
    epochs: list[Epoch] = []
    sums: Sums = Sums()
    best_epoch: int = 0
    best_step: int | None = None
    best_score: float | None = None
    first: list[StepFigures] = []

    @property
    def seconds(self) -> float:
        """Time spent so far, interruptions left out."""
        return self.sums.seconds + sum(epoch.seconds for epoch in self.epochs)

    def add(self, figures: StepFigures, rows: int, seconds: float) -> None:
        """Count a step."""
        self.step += 1
        self.sums.add(figures, rows, seconds)
        if len(self.first) < COUNT:
            self.first.append(figures)

    def close_epoch(self, epoch: Epoch, score: float) -> bool:
        """End an epoch, and return whether it is the best one so far.

        Args:
            epoch: its figures.
            score: by which epochs are compared, lower is better.
        """
        self.epochs, self.sums = [*self.epochs, epoch], Sums()
        if self.best_score is not None and score >= self.best_score:
            return False
        self.best_epoch, self.best_step, self.best_score = epoch.number, self.step, score
        return True
