"""Training: a whole fine-tune from its split rows to the finished classifier and everything that is told of it."""

import hashlib
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from samplers.calibration import TemperatureFit, figures
from server.errors import InvalidRequestError
from server.finetuning.channel import Channel
from server.finetuning.data.folds import Folds, folds_of
from server.finetuning.diagnosis.diagnostics import diagnose
from server.finetuning.examples import Examples, Splits
from server.finetuning.outcome import Ensembled, Epoch, Figures, Member, Outcome
from server.finetuning.part_channel import PartChannel
from server.finetuning.plan import TEXT_METHODS, Plan
from server.finetuning.training.checkpoints import Checkpoints
from server.finetuning.training.classifier import Manifest, save_classifier
from server.finetuning.training.ensemble import Ensemble, mean_logits, plan_of_network
from server.finetuning.training.evaluation import confused, fitted, judge, serving_temperature
from server.finetuning.training.inputs import Encoder
from server.finetuning.training.loop import Fitted, Loop
from server.finetuning.training.network import network_for
from server.finetuning.training.preparation import class_weights, encoders_of
from server.finetuning.training.reading import Reading
from server.finetuning.training.recording import recorded
from server.finetuning.training.reference import tf_idf_reference
from server.finetuning.training.tokens import Tokens
from server.finetuning.training.trainer import Rows, Trainer
from server.finetuning.training.trainers import new_trainer
from server.finetuning.training.unseen import Unseen
from server.models.tokenizer import Tokenizer

CLASSIFIER = "classifier"
CHECKPOINTS = "checkpoints"


def train(plan: Plan, splits: Splits, folder: Path, channel: Channel) -> Outcome:
    """Train, calibrate, judge and write a classifier; called again after an interruption, it goes on where it was.

    Args:
        plan: what is trained; its search is the caller's.
        splits: the rows.
        folder: of the job; gets `checkpoints`, `classifier`, `tensorboard` and, for `linear_probe`, `embeddings`.
        channel: hears how it goes, and says whether to stop.

    Returns:
        What was found; the classifier in the folder is finished.

    Raises:
        Stopped: the channel said so; a checkpoint is kept.
        InvalidRequestError: the rows do not fit the method, or what it needs is not installed.
        NumericalError: training left the finite numbers.
        StorageError: something cannot be written.
    """
    began_s = time.monotonic()
    _require_rows(splits)
    assert not (plan.hyperparameters.cross_fitted and len(splits.calibration)), "its rows would not be read"
    folds = folds_of(plan, splits.train)
    encoders = encoders_of(plan, splits.train, folds, folder, channel)
    ensemble = _new_ensemble(plan, encoders, len(splits.classes))
    reading = Reading(encoders, splits)
    prepared_s = time.monotonic() - began_s
    runs = _train_all(plan, splits, folds, ensemble, reading, folder, channel)
    judged_s = time.monotonic()
    networks, final, labels = ensemble.networks, runs[0].temperature_final, splits.test.labels
    unseen = _unseen(plan, splits, folds, reading)
    fit = _fit(plan, networks, unseen)
    warnings = list(fit.warnings) if fit is not None else []
    served = serving_temperature(plan, fit, final)
    improved = fit.temperature if fit is not None and fit.improved else None
    test = [reading.rows("test", number).inputs for number in range(len(networks))]
    logits = mean_logits(networks, test)
    reference = _reference(plan, splits, folds, warnings)
    manifest = _manifest(plan, splits, encoders, served=served, improved=improved, final=final)
    save_classifier(folder / CLASSIFIER, manifest, ensemble)
    outcome = Outcome(
        classes=list(splits.classes),
        counts={name: _counts(part, len(splits.classes)) for name, part in _parts(splits).items()},
        epochs=runs[0].epochs,
        best_epoch=runs[0].best_epoch,
        temperature_final=final,
        temperature_fitted=improved,
        temperature_served=served,
        before=judge(logits, labels, 1.0, plan.seed),
        after=judge(logits, labels, served, plan.seed),
        confusion=confused(logits, labels),
        reference=reference,
        diagnoses=[],
        search=None,
        ensemble=_ensembled(plan, networks[0], runs, unseen, Rows(test[0], labels)),
        parameters=ensemble.num_parameters,
        trained_tokens=_tokens_of(plan, splits.train, folds, epochs=[len(run.epochs) for run in runs]),
        seconds=prepared_s + sum(run.seconds for run in runs) + time.monotonic() - judged_s,
        warnings=[*splits.warnings, *warnings],
    )
    return outcome.model_copy(update={"diagnoses": diagnose(plan, outcome, runs[0].first)})


def _new_ensemble(plan: Plan, encoders: Sequence[Encoder], classes: int) -> Ensemble:
    shapes = [network_for(plan.method, own.row, classes) for own in encoders]
    count = plan.hyperparameters.ensemble
    return Ensemble(
        [new_trainer(plan_of_network(plan, number), shapes[number % len(shapes)]) for number in range(count)], encoders
    )


def _train_all(
    plan: Plan, splits: Splits, folds: Folds, ensemble: Ensemble, reading: Reading, folder: Path, channel: Channel
) -> list[Fitted]:
    """Train one network after another; the course of the first is told and recorded, of the others how they end."""
    runs, count = [], len(ensemble.networks)
    for number, trainer in enumerate(ensemble.networks):
        own, learned = plan_of_network(plan, number), folds.learned_by(number)
        seen, rows = splits, reading.rows("train", number)
        if len(learned) < len(rows):
            seen, rows = replace(splits, train=splits.train.take(learned)), rows.take(learned)
        part = PartChannel(channel, number / count, 1 / count, quiet=number > 0)
        checkpoints = Checkpoints(_checkpoints_of(folder, number), _fingerprint(own, splits), channel)
        trained: list[Epoch] = []  # none, where a run before this one has trained it
        with recorded(plan, folder, channel) if number == 0 else nullcontext() as recorder:
            run = Loop(
                trainer,
                own,
                rows,
                reading.rows("validation", number),
                part,
                class_weights=class_weights(plan, seen),
                criterion=plan.hyperparameters.best_by,
                checkpoints=checkpoints,
                after_step=recorder.step if recorder else None,
                after_epoch=recorder.epoch if recorder else trained.append,
            ).run()
        if trained:
            message = f"network {number + 1} of {count} is trained: validation NLL {_best(run).validation_nll:.4f}"
            channel.event("message", message, data={"network": number + 1})
        runs.append(run)
    return runs


def _best(run: Fitted) -> Epoch:
    return run.epochs[run.best_epoch - 1]


def _unseen(plan: Plan, splits: Splits, folds: Folds, reading: Reading) -> Unseen | None:
    """Return the rows that the temperature is fitted to; None: there are none."""
    numbers = range(plan.hyperparameters.ensemble)
    if plan.hyperparameters.cross_fitted:
        return Unseen([reading.rows("train", number).take(folds.of(number)) for number in numbers], folded=True)
    if not len(splits.calibration):
        return None
    return Unseen([reading.rows("calibration", number) for number in numbers], folded=False)


def _fit(plan: Plan, networks: Sequence[Trainer], unseen: Unseen | None) -> TemperatureFit | None:
    if unseen is None or not unseen.num_rows:
        return None
    return fitted(plan, *unseen.answered(networks))


def _checkpoints_of(folder: Path, number: int) -> Path:
    own = folder / CHECKPOINTS
    return own if number == 0 else own / f"network-{number}"


def _ensembled(plan: Plan, first: Trainer, runs: list[Fitted], unseen: Unseen | None, test: Rows) -> Ensembled | None:
    """Say what an ensemble is beside its first network alone; None: there is one alone."""
    if len(runs) == 1:
        return None
    served = serving_temperature(plan, _fit(plan, [first], unseen), runs[0].temperature_final)
    return Ensembled(
        members=[Member(best_epoch=run.best_epoch, validation_nll=_best(run).validation_nll) for run in runs],
        alone=Figures(**figures(first.logits(test.inputs), test.labels, served)),
        cross_fitted_rows=unseen.num_rows if unseen is not None and unseen.folded else None,
    )


def _manifest(
    plan: Plan, splits: Splits, encoders: Sequence[Encoder], *, served: float, improved: float | None, final: float
) -> Manifest:
    return Manifest(
        method=plan.method,
        framework=plan.framework,
        model=plan.model,
        model_dir=plan.model_dir,
        max_length=plan.hyperparameters.max_length,
        classes=list(splits.classes),
        network=network_for(plan.method, encoders[0].row, len(splits.classes)),
        temperature_served=served,
        temperature_fitted=improved,
        temperature_final=final,
        ensemble=plan.hyperparameters.ensemble,
        encoders=len(encoders),
    )


def _reference(plan: Plan, splits: Splits, folds: Folds, warnings: list[str]) -> Figures | None:
    if plan.method not in TEXT_METHODS:
        return None
    try:
        return tf_idf_reference(plan, splits, folds)
    except ValueError as error:  # scikit-learn: no words at all, or training rows of one class
        warnings.append(f"TF-IDF with logistic regression could not be trained for reference: {error}")
        return None


def _tokens_of(plan: Plan, train: Examples, folds: Folds, *, epochs: list[int]) -> int | None:
    if plan.method not in TEXT_METHODS:
        return None
    tokens = Tokens(Tokenizer.from_folder(Path(plan.model_dir)), plan.hyperparameters.max_length)
    texts = [text.lower() for text in train.inputs] if plan.method == "dan" else train.inputs
    lengths = np.array([len(ids) for ids in tokens.encode(texts)])
    return sum(own * int(lengths[folds.learned_by(number)].sum()) for number, own in enumerate(epochs))


def _require_rows(splits: Splits) -> None:
    for name, part in _parts(splits).items():
        if not len(part) and name != "calibration":
            raise InvalidRequestError(f"the {name} part has no rows; give more rows", param="training_file")


def _parts(splits: Splits) -> dict[str, Examples]:
    return {name: getattr(splits, name) for name in ("train", "validation", "calibration", "test")}


def _counts(examples: Examples, classes: int) -> list[int]:
    return np.bincount(examples.labels, minlength=classes).tolist()


def _fingerprint(plan: Plan, splits: Splits) -> str:
    """Name what checkpoints depend on: the plan and the rows that are trained on and validated with."""
    digest = hashlib.sha256(plan.identity.encode())
    for part in (splits.train, splits.validation):
        digest.update(np.ascontiguousarray(part.labels).tobytes())
        numeric = isinstance(part.inputs, np.ndarray)
        digest.update(part.inputs.tobytes() if numeric else "\0".join(part.inputs).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
