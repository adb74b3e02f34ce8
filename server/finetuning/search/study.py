"""Study: what Optuna keeps of a search in the job's folder, and how it chooses."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from server.errors import InvalidRequestError
from server.finetuning.plan import Plan

if TYPE_CHECKING:
    import optuna

DATABASE = "search.db"
STARTUP_TRIALS = 4  # that are never given up early, nor drawn by a model of those before


@contextmanager
def opened_study(plan: Plan, labels: np.ndarray, folder: Path) -> "Iterator[optuna.Study]":
    """Open the study of a plan and its rows, or begin it.

    Args:
        plan: with a search.
        labels: of the training part, int64 [rows].
        folder: of the job; gets `search.db`.

    Raises:
        InvalidRequestError: Optuna is not installed.
    """
    try:
        import optuna
        from sqlalchemy import URL
    except ImportError as error:
        message = "a search needs Optuna: pip install 'kelvin-server[finetune]'"
        raise InvalidRequestError(message, param="search") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    asked = plan.search
    assert asked is not None
    digest = hashlib.sha256(plan.identity.encode() + labels.tobytes()).hexdigest()
    url = URL.create("sqlite", database=str(folder / DATABASE))
    storage = optuna.storages.RDBStorage(url.render_as_string())
    prunes = asked.algorithm != "grid"  # whoever asks for a grid wants to see all of it
    try:
        yield optuna.create_study(
            storage=storage,
            study_name=digest,
            direction="minimize" if asked.objective == "nll" else "maximize",
            pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS) if prunes else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
    finally:
        storage.remove_session()
        storage.engine.dispose()


def sampler(plan: Plan, number: int) -> "optuna.samplers.BaseSampler":
    """Return what chooses a trial: seeded by its number, so that it chooses the same after an interruption.

    Args:
        plan: with a search.
        number: finished trials before it.
    """
    import optuna

    asked = plan.search
    assert asked is not None
    seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
    if asked.algorithm != "gp":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)


def take_up(study: "optuna.Study", epochs: int) -> None:
    """Put what an interruption left unfinished in line again, with the folds that it has finished.

    Args:
        study: of the search.
        epochs: of a training.
    """
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        folds = trial.user_attrs.get("folds", [])
        reported = [[step, own] for step, own in trial.intermediate_values.items() if step <= len(folds) * epochs]
        parameters = trial.system_attrs.get("fixed_params", {}) | trial.params
        study.tell(trial.number, state=TrialState.FAIL)
        if parameters:
            study.enqueue_trial(parameters, user_attrs={"folds": folds, "reported": reported})


def finished(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    """Return the trials that are over, in order; one that was interrupted is none of them."""
    from optuna.trial import TrialState

    return list(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def waiting(study: "optuna.Study") -> bool:
    """Tell whether a trial is in line already."""
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def value_of(trial: "optuna.trial.FrozenTrial") -> float | None:
    """Return the objective of a trial; an early value of one that was given up is none."""
    return trial.value if trial.state.name == "COMPLETE" else None
