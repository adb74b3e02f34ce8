"""Search: Optuna tries temperatures on folds of the training part before the final training.

The first trial is the control, temperature 1 throughout; what a search is worth is its gain over that. Every finished
trial is in a database in the job's folder, every finished fold of an unfinished one too, and each trial's sampler is
seeded by its number: a search that was interrupted ends as one that was not.
"""

import statistics
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from server.errors import InvalidRequestError, NumericalError
from server.finetuning.channel import Channel
from server.finetuning.examples import Splits
from server.finetuning.outcome import Search, Trial
from server.finetuning.part_channel import PartChannel
from server.finetuning.plan import Plan, SearchPlan
from server.finetuning.search.search_space import Parameters, control, grid, require_searchable, settled, suggest, told
from server.finetuning.search.study import finished, opened_study, sampler, take_up, value_of, waiting

if TYPE_CHECKING:
    import optuna

STANDARD_ERRORS = 2

Fold = tuple[np.ndarray, np.ndarray]  # numbers of the rows that are trained on, and of those that validate


class Report(Protocol):
    """Takes the objective after an epoch, and raises where the trial is given up."""

    def __call__(self, epoch: int, value: float, /) -> None:
        """Say how it goes.

        Args:
            epoch: from 1.
            value: of the objective on the fold's validation rows.
        """


class TrainFold(Protocol):
    """Trains on some rows and judges on others."""

    def __call__(self, plan: Plan, fold: Fold, report: Report, channel: Channel, /) -> float:
        """Return the objective.

        Args:
            plan: what the trial has chosen.
            fold: rows of the training part.
            report: hears of every epoch; what it raises ends the training.
            channel: hears how it goes, and says whether to stop.

        Raises:
            Stopped: the channel said so.
            NumericalError: training left the finite numbers.
        """


class Searched(NamedTuple):
    """What a search ends with.

    Attributes:
        plan: of the final training: the best one's.
        search: what was tried.
        seconds: that finished trials took.
    """

    plan: Plan
    search: Search
    seconds: float


def search(plan: Plan, splits: Splits, folder: Path, channel: Channel, train_fold: TrainFold) -> Searched:
    """Try settings, or go on with it after an interruption.

    Args:
        plan: with a search.
        splits: whose training part is cut into folds.
        folder: of the job; gets `search.db`.
        channel: hears how it goes, and says whether to stop.
        train_fold: trains on a fold.

    Raises:
        Stopped: the channel said so; finished folds are kept.
        InvalidRequestError: the search makes no sense, its folds cannot be cut, or what it needs is not installed.
        NumericalError: the control left the finite numbers.
    """
    asked = plan.search
    assert asked is not None, "only plans with a search are searched"
    require_searchable(plan)
    folds = folds_of(splits.train.labels, asked.folds, plan.seed)
    points = grid(plan) if asked.algorithm == "grid" else []
    wanted = 1 + len(points) if asked.algorithm == "grid" else asked.n_trials
    with opened_study(plan, splits.train.labels, folder) as study:
        take_up(study, plan.hyperparameters.n_epochs)
        while (number := len(finished(study))) < wanted:
            if not waiting(study) and (number == 0 or points):
                study.enqueue_trial(control(plan) if number == 0 else points[number - 1])
            study.sampler = sampler(plan, number)
            part = PartChannel(channel, number / wanted, 1 / wanted, quiet=True)
            _try(study, plan, number, folds, part, train_fold)
            _tell(channel, finished(study)[number], number, wanted)
        found = _search_of(finished(study), asked)
        seconds = sum(trial.duration.total_seconds() for trial in finished(study) if trial.duration is not None)
    best = found.trials[found.best]
    return Searched(settled(plan, best.parameters, is_control=found.best == 0), found, seconds)


def folds_of(labels: np.ndarray, count: int, seed: int) -> list[Fold]:
    """Cut rows into folds that have every class in like shares.

    Args:
        labels: int64 [rows].
        count: of folds, ≥ 2.
        seed: of which rows are in which.

    Raises:
        InvalidRequestError: no class has so many rows.
    """
    from sklearn.model_selection import StratifiedKFold

    most = int(np.bincount(labels).max(initial=0))
    if most < count:
        raise InvalidRequestError(
            f"search.folds is {count} and no class has more than {most} training rows; lower it, or give more rows",
            param="search.folds",
        )
    cutter = StratifiedKFold(count, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is then in some folds alone
        return list(cutter.split(np.zeros(len(labels)), labels))


def _try(
    study: "optuna.Study", plan: Plan, number: int, folds: list[Fold], channel: PartChannel, train_fold: TrainFold
) -> None:
    """Train a trial on every fold that is left of it."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    trial = study.ask()
    parameters = suggest(trial, plan)
    chosen = settled(plan, parameters, is_control=number == 0)
    values = list(trial.user_attrs.get("folds", []))
    for step, value in trial.user_attrs.get("reported", []):
        trial.report(value, step)
    epochs = plan.hyperparameters.n_epochs

    def report(epoch: int, value: float) -> None:
        trial.report((sum(values) + value) / (len(values) + 1), len(values) * epochs + epoch)
        if trial.should_prune():
            raise TrialPruned

    try:
        for place in range(len(values), len(folds)):
            part = channel.part(place / len(folds), 1 / len(folds))
            values.append(train_fold(chosen, folds[place], report, part))
            trial.set_user_attr("folds", values)
    except TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except NumericalError as error:
        if number == 0:
            raise
        trial.set_user_attr("diverged", error.message)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, statistics.fmean(values))


def _tell(channel: Channel, trial: "optuna.trial.FrozenTrial", number: int, wanted: int) -> None:
    value, chosen = value_of(trial), told(trial.params)
    said = f"trial {number + 1} of {wanted}, {', '.join(_named(chosen))}: "
    if diverged := trial.user_attrs.get("diverged"):
        channel.event("message", f"{said}{diverged}", level="warn", data={"trial": number, "parameters": chosen})
        return
    said += "given up early" if value is None else f"{value:.4f}"
    channel.event("metrics", said, data={"trial": number, "parameters": chosen, "value": value})


def _named(parameters: Parameters) -> Iterator[str]:
    for name, value in parameters.items():
        yield f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name} {value}"


def _search_of(tried: "list[optuna.trial.FrozenTrial]", asked: SearchPlan) -> Search:
    folds: list[list[float]] = [trial.user_attrs.get("folds", []) for trial in tried]
    trials = [
        Trial(
            number=number,
            parameters=told(trial.params),
            value=value_of(trial),
            spread=None if value_of(trial) is None else statistics.stdev(folds[number]),
        )
        for number, trial in enumerate(tried)
    ]
    sign = 1.0 if asked.objective == "nll" else -1.0
    complete = [trial.number for trial in trials if trial.value is not None]
    best = min(complete, key=lambda number: (sign * statistics.fmean(folds[number]), number))
    gains = [sign * (first - own) for first, own in zip(folds[0], folds[best], strict=True)]
    gain, error = statistics.fmean(gains), statistics.stdev(gains) / len(gains) ** 0.5
    return Search(
        objective=asked.objective, trials=trials, best=best, gain=gain, inside_noise=gain <= STANDARD_ERRORS * error
    )
