"""Scalars: what is kept of every step and every epoch, and under which names, wherever it is written to."""

from server.finetuning.outcome import Epoch
from server.finetuning.training.trainer import StepFigures


def of_step(figures: StepFigures, temperature: float, learning_rate: float) -> dict[str, float]:
    """Name what an optimiser step saw.

    Args:
        figures: of it.
        temperature: that its logits were divided by.
        learning_rate: that it was taken with.
    """
    return {
        "training/temperature": temperature,
        "training/learning_rate": learning_rate,
        "loss/at_training_temperature": figures.loss,
        "loss/at_one": figures.loss_at_one,
        "training/gradient_norm": figures.gradient_norm,
    }


def of_epoch(epoch: Epoch) -> dict[str, float]:
    """Name what the validation part said after an epoch.

    Args:
        epoch: what was seen.
    """
    return {
        "validation/nll_at_one": epoch.validation_nll,
        "validation/nll_at_training_temperature": epoch.validation_nll_at_training,
        "validation/accuracy": epoch.validation_accuracy,
        "validation/macro_f1": epoch.validation_macro_f1,
        "validation/ece": epoch.validation_ece,
    }
