"""First steps: what training saw before it had learned anything, which tells why it is slow to learn."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from server.finetuning.training.trainer import StepFigures

COUNT = 20


class FirstSteps(BaseModel):
    """Means over the first optimiser steps, at most 20.

    Attributes:
        steps: how many, ≥ 1.
        temperature: of the first one's loss.
        loss: at the training temperature, smoothing and class weights included.
        loss_at_one: of the same logits at temperature 1.
        gradient_norm: before clipping.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int
    temperature: float
    loss: float
    loss_at_one: float
    gradient_norm: float


def first_steps(figures: Sequence[StepFigures], temperature: float) -> FirstSteps:
    """Average steps.

    Args:
        figures: of the first steps, at least one.
        temperature: of the first one's loss.
    """
    count = len(figures)
    return FirstSteps(
        steps=count,
        temperature=temperature,
        loss=sum(own.loss for own in figures) / count,
        loss_at_one=sum(own.loss_at_one for own in figures) / count,
        gradient_norm=sum(own.gradient_norm for own in figures) / count,
    )
