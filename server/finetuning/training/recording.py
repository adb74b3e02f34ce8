"""Recording: where the course of a training is written to, step by step: event files always, W&B where asked for."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from server.errors import InvalidRequestError
from server.finetuning.channel import Channel
from server.finetuning.outcome import Epoch
from server.finetuning.plan import Plan
from server.finetuning.training.trainer import StepFigures
from server.finetuning.training.wandb_run import WandbRun


class Recorder(Protocol):
    """What keeps the course of a training."""

    def step(self, number: int, figures: StepFigures, temperature: float, learning_rate: float) -> None:
        """Keep what an optimiser step saw.

        Args:
            number: steps before it, in all.
            figures: of it.
            temperature: that its logits were divided by.
            learning_rate: that it was taken with.
        """

    def epoch(self, epoch: Epoch) -> None:
        """Keep what the validation part said after the last step."""


class _Together:
    """Several recorders as one."""

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders = recorders

    def step(self, number: int, figures: StepFigures, temperature: float, learning_rate: float) -> None:
        """Keep a step, in each."""
        for own in self._recorders:
            own.step(number, figures, temperature, learning_rate)

    def epoch(self, epoch: Epoch) -> None:
        """Keep an epoch, in each."""
        for own in self._recorders:
            own.epoch(epoch)


@contextmanager
def recorded(plan: Plan, folder: Path, channel: Channel) -> Iterator[Recorder]:
    """Open the places that a training's course is written to, and close them with it.

    Args:
        plan: says whether W&B is one of them.
        folder: of the job.
        channel: hears of one that cannot be used.

    Raises:
        InvalidRequestError: TensorBoard is not installed.
    """
    try:
        from server.finetuning.training.event_files import EventFiles
    except ImportError as error:
        raise InvalidRequestError("fine-tuning needs tensorboard: pip install 'kelvin-server[finetune]'") from error
    with ExitStack() as open_ones:
        recorders: list[Recorder] = [open_ones.enter_context(EventFiles(folder))]
        if plan.wandb is not None:
            recorders.append(open_ones.enter_context(WandbRun(plan.wandb, plan, folder, channel)))
        yield _Together(*recorders)
