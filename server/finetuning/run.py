"""Run: a whole fine-tune: the search, where one is asked for, and the training with what it has chosen."""

from pathlib import Path

from server.finetuning.channel import Channel
from server.finetuning.examples import Splits
from server.finetuning.outcome import Outcome
from server.finetuning.part_channel import PartChannel
from server.finetuning.plan import Hyperparameters, Plan, SearchPlan
from server.finetuning.reporting.verdict import of_search
from server.finetuning.training.train import train


def run(plan: Plan, splits: Splits, folder: Path, channel: Channel) -> Outcome:
    """Fine-tune; called again after an interruption, it goes on where it was.

    Args:
        plan: what is trained.
        splits: the rows.
        folder: of the job; gets what `search` and `train` keep.
        channel: hears how it goes, and says whether to stop.

    Returns:
        What was found, diagnoses and search included; the classifier in the folder is finished.

    Raises:
        Stopped: the channel said so; what was reached is kept.
        InvalidRequestError: the rows or the search do not fit, or what they need is not installed.
        NumericalError: training left the finite numbers.
        StorageError: something cannot be written.
    """
    if plan.search is None:
        return _diagnosed(train(plan, splits, folder, channel), channel)
    from server.finetuning.search.folds import fold_training
    from server.finetuning.search.search import search

    share = _share(plan.search, plan.hyperparameters)
    part = PartChannel(channel, 0.0, share)
    chosen, found, seconds = search(plan, splits, folder, part, fold_training(plan, splits, folder, part))
    channel.event("message", of_search(found), data={"best": found.best, "gain": found.gain})
    outcome = train(chosen, splits, folder, PartChannel(channel, share, 1 - share))
    return _diagnosed(outcome.model_copy(update={"search": found, "seconds": outcome.seconds + seconds}), channel)


def _share(asked: SearchPlan, settings: Hyperparameters) -> float:
    """Return what share of the work a search is: its folds together train one network on folds - 1 times the rows.

    So do cross-fitted networks, each of which leaves out a fold.
    """
    work = asked.n_trials * (asked.folds - 1)
    return work / (work + settings.ensemble - settings.cross_fitted)


def _diagnosed(outcome: Outcome, channel: Channel) -> Outcome:
    for own in outcome.diagnoses:
        channel.event("diagnosis", own.message, level=own.level, data={"code": own.code, "evidence": own.evidence})
    return outcome
