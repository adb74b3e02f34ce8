"""Course: temperature and learning rate of every step of a training, known before it begins."""

import math

from samplers.learning_rates import coupled_rate, rate_factor
from samplers.schedules import share_of, temperature_at
from server.finetuning.plan import Plan


class Course:
    """What a plan says of each step.

    Attributes:
        epochs: passes over the rows.
        steps_per_epoch: optimiser steps of one pass; the last one may have fewer rows.
    """

    def __init__(self, plan: Plan, rows: int) -> None:
        """Lay out the steps.

        Args:
            plan: what is trained.
            rows: of the training part, ≥ 1.
        """
        self.epochs = plan.hyperparameters.n_epochs
        self.steps_per_epoch = math.ceil(rows / plan.hyperparameters.batch_size)
        self._temperature, self._rate = plan.temperature, plan.hyperparameters

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.epochs * self.steps_per_epoch

    def temperature(self, step: int) -> float:
        """Return the temperature of a step's loss.

        Args:
            step: from 0.
        """
        plan = self._temperature
        by_step = plan.per == "step"
        share = share_of(step, self.steps) if by_step else share_of(step // self.steps_per_epoch, self.epochs)
        return temperature_at(
            plan.schedule, share, start=plan.start, end=plan.end, steps=plan.steps, points=plan.points
        )

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step: the coupled one, times warm-up and decay.

        Args:
            step: from 0.
        """
        plan = self._rate
        full = coupled_rate(plan.learning_rate, self.temperature(step), self._temperature.lr_coupling)
        return full * rate_factor(step, self.steps, warmup=plan.warmup, decay=plan.decay)
