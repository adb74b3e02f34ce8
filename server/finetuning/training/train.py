"""Training: a whole fine-tune from its split rows to the finished classifier and everything that is told of it."""

import hashlib
import time
from pathlib import Path

import numpy as np

from server.errors import InvalidRequestError
from server.finetuning.channel import Channel, Stopped
from server.finetuning.diagnosis.diagnostics import diagnose
from server.finetuning.examples import Examples, Splits
from server.finetuning.outcome import Figures, Outcome
from server.finetuning.plan import TEXT_METHODS, Plan
from server.finetuning.training.checkpoints import Checkpoints
from server.finetuning.training.classifier import Manifest, save_classifier
from server.finetuning.training.embedding import fingerprint, kept_on_disk, model_embed
from server.finetuning.training.evaluation import confused, fitted, judge, serving_temperature
from server.finetuning.training.inputs import Encoder, encoder_for
from server.finetuning.training.loop import Fitted, Loop
from server.finetuning.training.network import Network, network_for
from server.finetuning.training.recording import recorded
from server.finetuning.training.reference import tf_idf_reference
from server.finetuning.training.tokens import Tokens
from server.finetuning.training.trainer import Rows, Trainer
from server.finetuning.training.trainers import new_trainer
from server.models.tokenizer import Tokenizer

CLASSIFIER = "classifier"
CHECKPOINTS = "checkpoints"
EMBEDDINGS = "embeddings"


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
    encoder = encoder_of(plan, splits.train, folder, channel)
    network = network_for(plan.method, encoder.row, len(splits.classes))
    trainer = new_trainer(plan, network)
    train_rows, validation = encoded(encoder, splits.train), encoded(encoder, splits.validation)
    prepared_s = time.monotonic() - began_s
    run = _move_weights(plan, splits, trainer, train_rows, validation, folder, channel)
    judged_s = time.monotonic()

    def logits(examples: Examples) -> np.ndarray:
        return trainer.logits(encoder.encode(examples.inputs))

    fit = fitted(plan, logits(splits.calibration), splits.calibration.labels) if len(splits.calibration) else None
    warnings = list(fit.warnings) if fit is not None else []
    served = serving_temperature(plan, fit, run.temperature_final)
    test = logits(splits.test)
    reference = _reference(plan, splits, warnings)
    improved = fit.temperature if fit is not None and fit.improved else None
    manifest = _manifest(plan, splits, network, served=served, improved=improved, final=run.temperature_final)
    save_classifier(folder / CLASSIFIER, manifest, trainer.weights(), encoder)
    outcome = Outcome(
        classes=list(splits.classes),
        counts={name: _counts(part, len(splits.classes)) for name, part in _parts(splits).items()},
        epochs=run.epochs,
        best_epoch=run.best_epoch,
        temperature_final=run.temperature_final,
        temperature_fitted=improved,
        temperature_served=served,
        before=judge(test, splits.test.labels, 1.0, plan.seed),
        after=judge(test, splits.test.labels, served, plan.seed),
        confusion=confused(test, splits.test.labels),
        reference=reference,
        diagnoses=[],
        search=None,
        parameters=trainer.num_parameters,
        trained_tokens=_tokens_of(plan, splits.train, epochs=len(run.epochs)),
        seconds=prepared_s + run.seconds + time.monotonic() - judged_s,
        warnings=[*splits.warnings, *warnings],
    )
    return outcome.model_copy(update={"diagnoses": diagnose(plan, outcome, run.first)})


def encoder_of(plan: Plan, train: Examples, folder: Path, channel: Channel) -> Encoder:
    """Make the encoder of a plan, from the training part.

    Args:
        plan: what is trained.
        train: the rows it learns from.
        folder: of the job; gets `embeddings` where a model's hidden states are read.
        channel: hears how far reading is, and says whether to stop.

    Raises:
        InvalidRequestError: the rows are not what the method takes.
    """
    if plan.method not in TEXT_METHODS:
        return encoder_for(plan.method, train.inputs, None, None)
    model_dir, max_length = Path(plan.model_dir), plan.hyperparameters.max_length
    tokens = Tokens(Tokenizer.from_folder(model_dir), max_length)
    if plan.method != "linear_probe":
        return encoder_for(plan.method, train.inputs, tokens, None)

    def told(_: float) -> None:
        if channel.should_stop:
            raise Stopped
        channel.progress(0.0, epoch=0, step=0, eta_s=None)

    embed = model_embed(plan.framework, model_dir, tokens, max_length)
    of = f"{plan.framework} {max_length} {fingerprint(model_dir)}"
    return encoder_for(plan.method, train.inputs, tokens, kept_on_disk(embed, folder / EMBEDDINGS, of, told))


def encoded(encoder: Encoder, examples: Examples) -> Rows:
    """Return a part's rows as the network takes them."""
    return Rows(encoder.encode(examples.inputs), examples.labels)


def class_weights(plan: Plan, splits: Splits) -> np.ndarray | None:
    """Return what the loss of a row of each class is multiplied by, float32 [classes]; None: 1.

    `balanced` is rows / (classes · rows of the class), over classes that the training part has.
    """
    asked = plan.hyperparameters.class_weight
    if asked is None:
        return None
    if asked == "balanced":
        counts = np.array(_counts(splits.train, len(splits.classes)))
        return (counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)
    if unknown := sorted(set(asked) - set(splits.classes)):
        raise InvalidRequestError(
            f"class_weight names {', '.join(unknown)}, which no row has; classes are {', '.join(splits.classes)}",
            param="hyperparameters.class_weight",
        )
    return np.array([asked.get(name, 1.0) for name in splits.classes], np.float32)


def _move_weights(
    plan: Plan, splits: Splits, trainer: Trainer, train_rows: Rows, validation: Rows, folder: Path, channel: Channel
) -> Fitted:
    checkpoints = Checkpoints(folder / CHECKPOINTS, _fingerprint(plan, splits), channel)
    weights = class_weights(plan, splits)
    with recorded(plan, folder, channel) as recorder:
        return Loop(
            trainer,
            plan,
            train_rows,
            validation,
            channel,
            class_weights=weights,
            criterion=plan.hyperparameters.best_by,
            checkpoints=checkpoints,
            after_step=recorder.step,
            after_epoch=recorder.epoch,
        ).run()


def _manifest(
    plan: Plan, splits: Splits, network: Network, *, served: float, improved: float | None, final: float
) -> Manifest:
    return Manifest(
        method=plan.method,
        framework=plan.framework,
        model=plan.model,
        model_dir=plan.model_dir,
        max_length=plan.hyperparameters.max_length,
        classes=list(splits.classes),
        network=network,
        temperature_served=served,
        temperature_fitted=improved,
        temperature_final=final,
    )


def _reference(plan: Plan, splits: Splits, warnings: list[str]) -> Figures | None:
    if plan.method not in TEXT_METHODS:
        return None
    try:
        return tf_idf_reference(plan, splits)
    except ValueError as error:  # scikit-learn: no words at all, or training rows of one class
        warnings.append(f"TF-IDF with logistic regression could not be trained for reference: {error}")
        return None


def _tokens_of(plan: Plan, train: Examples, *, epochs: int) -> int | None:
    if plan.method not in TEXT_METHODS:
        return None
    tokens = Tokens(Tokenizer.from_folder(Path(plan.model_dir)), plan.hyperparameters.max_length)
    texts = [text.lower() for text in train.inputs] if plan.method == "dan" else train.inputs
    return epochs * sum(map(len, tokens.encode(texts)))


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
