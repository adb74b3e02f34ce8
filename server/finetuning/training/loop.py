"""Loop: training in epochs and steps, the same for both frameworks and every method.

What a step does depends on the plan, the step's number and the trainer's state alone. So a training that was
interrupted anywhere and goes on from a checkpoint ends with the weights, to the bit, of one that was not.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from samplers.calibration import accuracy, ece, macro_f1, nll
from server.errors import NumericalError
from server.finetuning.channel import Channel, Stopped
from server.finetuning.outcome import Epoch
from server.finetuning.plan import Plan
from server.finetuning.training.checkpoints import Checkpoints
from server.finetuning.training.course import Course
from server.finetuning.training.durable import DamagedError
from server.finetuning.training.first_steps import FirstSteps, first_steps
from server.finetuning.training.randomness import order, step_seed
from server.finetuning.training.standing import Standing
from server.finetuning.training.trainer import Batch, Rows, StepFigures, Trainer, weights_of
from server.jobs.errors import StorageError

Criterion = Literal["nll", "macro_f1"]

_STEP_EVENTS = 100  # of a whole training
_REPORT_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training ended with; the trainer holds the best epoch's weights.

    Attributes:
        epochs: that were trained.
        best_epoch: number of the one whose weights are kept.
        temperature_final: of the last step's loss.
        seconds: spent, interruptions left out.
        first: what the first steps saw.
    """

    epochs: list[Epoch]
    best_epoch: int
    temperature_final: float
    seconds: float
    first: FirstSteps


class Loop:
    """One training, from wherever its checkpoints stand to its end."""

    def __init__(
        self,
        trainer: Trainer,
        plan: Plan,
        train: Rows,
        validation: Rows,
        channel: Channel,
        *,
        class_weights: np.ndarray | None = None,
        criterion: Criterion = "nll",
        checkpoints: Checkpoints | None = None,
        checkpoint_every_s: float = 60.0,
        after_step: Callable[[int, StepFigures, float, float], None] | None = None,
        after_epoch: Callable[[Epoch], None] | None = None,
    ) -> None:
        """Prepare a training.

        Args:
            trainer: with its initial weights.
            plan: how it is trained.
            train: rows that weights are fitted to, at least one.
            validation: rows that choose the best epoch, at least one.
            channel: hears how it goes, and says whether to stop.
            class_weights: of a row's loss by its class, float32 [classes]; None: 1.
            criterion: of the best epoch: validation NLL at temperature 1, or macro-F1.
            checkpoints: where to keep them; None: nothing is kept, and the best weights are held in memory.
            checkpoint_every_s: seconds between checkpoints within an epoch; each epoch's end has one anyway.
            after_step: called after each step with its number, from 0, its figures, temperature and learning rate.
            after_epoch: called after each epoch; what it raises ends training.
        """
        self._trainer, self._plan, self._channel = trainer, plan, channel
        self._train, self._validation = train, validation
        self._criterion: Criterion = criterion
        self._checkpoints, self._checkpoint_every_s = checkpoints, checkpoint_every_s
        self._after_step, self._after_epoch = after_step, after_epoch
        self._course = Course(plan, len(train))
        ones = np.ones(int(train.labels.max()) + 1, np.float32)
        self._row_weights = (ones if class_weights is None else class_weights)[train.labels]
        self._standing = Standing()
        self._best: dict[str, np.ndarray] = {}

    def run(self) -> Fitted:
        """Train to the end, and leave the best epoch's weights in the trainer.

        Raises:
            Stopped: the channel said so; a checkpoint is kept.
            NumericalError: a loss or a gradient is not finite.
            StorageError: a checkpoint cannot be written or read.
        """
        self._resume()
        self._timed: tuple[float, int] | None = None  # when the first step of this run was over, and its number
        self._saved_s = self._reported_s = time.monotonic()
        while not self._over():
            self._epoch()
        self._restore_best()
        standing = self._standing
        return Fitted(
            standing.epochs,
            standing.best_epoch,
            self._course.temperature(standing.step - 1),
            standing.seconds,
            first_steps(standing.first, self._course.temperature(0)),
        )

    def _over(self) -> bool:
        done, patience = len(self._standing.epochs), self._plan.hyperparameters.early_stopping_patience
        return done == self._course.epochs or (patience is not None and done - self._standing.best_epoch >= patience)

    def _epoch(self) -> None:
        """Take the steps that are left of an epoch, and judge it."""
        course, standing = self._course, self._standing
        epoch, size = len(standing.epochs), self._plan.hyperparameters.batch_size
        rows = order(self._plan.seed, epoch, len(self._train))
        for place in range(standing.step - epoch * course.steps_per_epoch, course.steps_per_epoch):
            if self._channel.should_stop:
                self._stop()
            self._step(rows[place * size : (place + 1) * size], epoch)
            if place + 1 < course.steps_per_epoch and time.monotonic() - self._saved_s >= self._checkpoint_every_s:
                self._save()
        self._judge(epoch)

    def _step(self, rows: np.ndarray, epoch: int) -> None:
        began_s, step = time.monotonic(), self._standing.step
        temperature, rate = self._course.temperature(step), self._course.learning_rate(step)
        chosen = self._train.take(rows)
        batch = Batch(chosen.inputs, chosen.labels, self._row_weights[rows])
        figures = self._trainer.step(
            batch, temperature=temperature, learning_rate=rate, seed=step_seed(self._plan.seed, step)
        )
        if not (math.isfinite(figures.loss) and math.isfinite(figures.gradient_norm)):
            raise NumericalError(
                f"step {step + 1} (epoch {epoch + 1}) has a loss of {figures.loss:g} and a gradient of length "
                f"{figures.gradient_norm:g} at temperature {temperature:g} and learning rate {rate:g}; lower "
                "learning_rate, set max_grad_norm, or raise the temperature"
            )
        self._standing.add(figures, len(rows), time.monotonic() - began_s)
        if self._after_step is not None:
            self._after_step(step, figures, temperature, rate)
        self._tell_step(figures, epoch, temperature, rate)

    def _judge(self, number: int) -> None:
        """Ask the validation part, and keep the epoch with what it said."""
        began_s, standing = time.monotonic(), self._standing
        logits, labels = self._trainer.logits(self._validation.inputs), self._validation.labels
        if not np.isfinite(logits).all():
            raise NumericalError(
                f"after epoch {number + 1} the logits of validation rows are not finite; lower learning_rate"
            )
        last, sums = standing.step - 1, standing.sums
        temperature = self._course.temperature(last)
        epoch = Epoch(
            number=number + 1,
            temperature=temperature,
            learning_rate=self._course.learning_rate(last),
            loss=sums.loss / sums.rows,
            loss_at_one=sums.loss_at_one / sums.rows,
            gradient_norm=sums.gradient_norm / sums.steps,
            validation_nll=nll(logits, labels),
            validation_nll_at_training=nll(logits, labels, temperature),
            validation_accuracy=accuracy(logits, labels),
            validation_macro_f1=macro_f1(logits, labels),
            validation_ece=ece(logits, labels),
            seconds=sums.seconds + time.monotonic() - began_s,
        )
        score = epoch.validation_nll if self._criterion == "nll" else -epoch.validation_macro_f1
        if standing.close_epoch(epoch, score) and self._checkpoints is None:
            self._best = self._trainer.weights()
        self._save()
        self._tell_epoch(epoch)
        if self._after_epoch is not None:
            self._after_epoch(epoch)

    def _tell_step(self, figures: StepFigures, epoch: int, temperature: float, rate: float) -> None:
        step, steps, now_s = self._standing.step, self._course.steps, time.monotonic()
        if now_s - self._reported_s >= _REPORT_EVERY_S or step == steps:
            self._reported_s = now_s
            self._channel.progress(step / steps, epoch=epoch, step=step, eta_s=self._eta_s(now_s))
        if step % math.ceil(steps / _STEP_EVENTS) == 0:
            data = {
                "step": step, "epoch": epoch + 1, "loss": figures.loss, "loss_at_one": figures.loss_at_one,
                "gradient_norm": figures.gradient_norm, "temperature": temperature, "learning_rate": rate,
            }  # fmt: skip
            self._channel.event("metrics", f"step {step} of {steps}: loss {figures.loss:.4f}", data=data)

    def _eta_s(self, now_s: float) -> float | None:
        """Reckon the seconds left from the steps since the first one, in which programs are compiled; None: unknown."""
        step = self._standing.step
        if self._timed is None:
            self._timed = now_s, step
            return None
        began_s, began_step = self._timed
        return (now_s - began_s) / (step - began_step) * (self._course.steps - step)

    def _tell_epoch(self, epoch: Epoch) -> None:
        step, standing = self._standing.step, self._standing
        message = (
            f"epoch {epoch.number} of {self._course.epochs}: loss {epoch.loss:.4f}, validation NLL "
            f"{epoch.validation_nll:.4f}, accuracy {epoch.validation_accuracy:.4f}"
        )
        self._channel.event("metrics", message, data={"step": step, "epoch": epoch.number} | epoch.model_dump())
        if self._over() and epoch.number < self._course.epochs:
            self._channel.event(
                "message", f"training ends early: epoch {standing.best_epoch} is still the best", data={"step": step}
            )

    def _resume(self) -> None:
        found = self._checkpoints.newest() if self._checkpoints else None
        if found is None:
            return
        state, progress = found
        self._trainer.load_state(state)
        self._standing = Standing.model_validate(progress)
        step = self._standing.step
        self._channel.event("message", f"training goes on after step {step}", data={"step": step})

    def _save(self) -> None:
        if self._checkpoints is None:
            return
        standing = self._standing
        self._checkpoints.save(standing.step, self._trainer.state(), standing.model_dump(), standing.best_step)
        self._saved_s = time.monotonic()

    def _stop(self) -> None:
        self._save()
        raise Stopped

    def _restore_best(self) -> None:
        best_step = self._standing.best_step
        if self._checkpoints is not None and best_step is not None:
            try:
                self._best = weights_of(self._checkpoints.state(best_step))
            except DamagedError as error:
                raise StorageError(
                    f"the best weights are lost: {error}; resume the job, which trains again from an earlier checkpoint"
                ) from error
        self._trainer.load_weights(self._best)
