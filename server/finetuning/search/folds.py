"""Folds: a search's trainings on parts of the training rows, and what each is worth."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from samplers.calibration import fit_temperature, macro_f1, nll
from server.errors import InvalidRequestError
from server.finetuning.channel import Channel
from server.finetuning.examples import Splits
from server.finetuning.outcome import Epoch
from server.finetuning.plan import Plan
from server.finetuning.search.search import Fold, Report, TrainFold
from server.finetuning.training.loop import Loop
from server.finetuning.training.network import network_for
from server.finetuning.training.preparation import class_weights, encoded, encoder_of
from server.finetuning.training.trainers import new_trainer

Objective = Callable[[np.ndarray, np.ndarray], float]


def fold_training(plan: Plan, splits: Splits, folder: Path, channel: Channel) -> TrainFold:
    """Prepare trainings that differ in temperature, schedule and learning rate alone.

    Rows are encoded once, and one trainer is set back before each: temperature and rate are data of its steps.

    Args:
        plan: with a search.
        splits: whose training part the folds are cut from.
        folder: of the job.
        channel: hears how far the reading of texts is, and says whether to stop.

    Raises:
        InvalidRequestError: the rows do not fit the method, or what it needs is not installed.
    """
    assert plan.search is not None, "only plans with a search are searched"
    if not len(splits.train):
        raise InvalidRequestError("the train part has no rows; give more rows", param="training_file")
    encoder = encoder_of(plan, splits.train, folder, channel)
    trainer = new_trainer(plan, network_for(plan.method, encoder.row, len(splits.classes)))
    rows, beginning = encoded(encoder, splits.train), trainer.state()
    criterion = plan.search.objective
    worth: Objective = calibrated_nll if criterion == "nll" else macro_f1

    def train_fold(chosen: Plan, fold: Fold, report: Report, channel: Channel) -> float:
        training, validation = fold
        judged = rows.take(validation)
        weights = class_weights(chosen, replace(splits, train=splits.train.take(training)))

        def after_epoch(epoch: Epoch) -> None:
            report(epoch.number, worth(trainer.logits(judged.inputs), judged.labels))

        trainer.load_state(beginning)
        Loop(
            trainer,
            chosen,
            rows.take(training),
            judged,
            channel,
            class_weights=weights,
            criterion=criterion,
            after_epoch=after_epoch,
        ).run()
        return worth(trainer.logits(judged.inputs), judged.labels)

    return train_fold


def calibrated_nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the NLL of rows at a temperature that was fitted to others.

    Rows are halved class by class; each half is judged at the temperature that is best for the other one.

    Args:
        logits: finite [rows, classes].
        labels: int64 [rows], at least one.
    """
    ordered = np.argsort(labels, kind="stable")
    halves = ordered[0::2], ordered[1::2]
    total = 0.0
    for own, other in (halves, halves[::-1]):
        if len(own):
            temperature = fit_temperature(logits[other], labels[other]).temperature if len(other) else 1.0
            total += len(own) * nll(logits[own], labels[own], temperature)
    return total / len(labels)
