"""Networks that leave out a fold each: who is asked for which row, what is fitted to it, and what is told of it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from samplers.calibration import figures, fit_temperature
from server.finetuning.channel import Stopped
from server.finetuning.data.folds import Folds, folds_of
from server.finetuning.examples import Examples, Splits
from server.finetuning.training.bags import Bags
from server.finetuning.training.classifier import load_classifier
from server.finetuning.training.ensemble import plan_of_network
from server.finetuning.training.loop import Loop
from server.finetuning.training.network import network_for
from server.finetuning.training.preparation import class_weights, encoded, encoder_of
from server.finetuning.training.tokens import Tokens
from server.finetuning.training.train import train
from server.finetuning.training.trainer import Rows
from server.finetuning.training.trainers import new_trainer
from server.finetuning.training.unseen import Unseen
from server.models.tokenizer import Tokenizer
from tests.finetuning.digits import FRAMEWORKS, Heard, a_plan, digit_splits
from tests.finetuning.topics import TOPICS, topics, write_model


def pooled(rows=200):
    """Return digits whose calibration part is empty."""
    splits = digit_splits(rows)
    return replace(splits, calibration=splits.calibration.take(np.arange(0)))


def weights_in(folder):
    return load_file(folder / "classifier" / "weights.safetensors")


class Fake:
    """A network whose logits are its number and the row's."""

    def __init__(self, number):
        self.number, self.asked = number, []

    def logits(self, inputs):
        self.asked += inputs.ravel().tolist()
        return np.stack([np.full(len(inputs), self.number), inputs.ravel()], axis=1).astype(np.float32)


def test_each_row_is_asked_of_the_network_that_has_left_it_out_and_of_no_other():
    rows, folds = Rows(np.arange(6, dtype=np.float32)[:, None], np.array([1, 0, 1, 0, 1, 0])), [1, -1, 0, 1, 0, 2]
    unseen = Unseen([rows.take(Folds(np.array(folds)).of(number)) for number in range(3)], folded=True)
    networks = [Fake(number) for number in range(3)]
    logits, labels = unseen.answered(networks)
    assert logits.tolist() == [[0, 2], [0, 4], [1, 0], [1, 3], [2, 5]]
    assert labels.tolist() == [1, 1, 1, 0, 0]
    assert [own.asked for own in networks] == [[2, 4], [0, 3], [5]]
    assert unseen.num_rows == 5
    logits, labels = unseen.answered(networks[:1])
    assert (logits.tolist(), labels.tolist()) == ([[0, 2], [0, 4]], [1, 1])
    none = Unseen([rows.take(np.arange(0))] * 3, folded=True)
    assert (none.num_rows, len(none.answered(networks)[0])) == (0, 0)


def test_rows_that_nobody_has_seen_are_asked_of_all():
    rows = Rows(np.arange(6, dtype=np.float32)[:, None], np.array([1, 0, 1, 0, 1, 0]))
    unseen = Unseen([rows] * 3, folded=False)
    logits, labels = unseen.answered([Fake(number) for number in range(3)])
    assert (logits[:, 0].tolist(), labels.tolist()) == ([1.0] * 6, [1, 0, 1, 0, 1, 0])
    assert unseen.num_rows == 6


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_networks_that_are_trained_one_by_one_say_the_same(framework, tmp_path):
    """Each by a loop of its own, on the rows of the other folds; the encoder has all rows."""
    splits = pooled()
    plan = a_plan(framework, ensemble=3, cross_fitted=True, n_epochs=4, learning_rate=0.01, class_weight="balanced")
    outcome = train(plan, splits, tmp_path, Heard())
    folds = folds_of(plan, splits.train)
    encoder = encoder_of(plan, splits.train, tmp_path, Heard())
    rows, validation, test = (encoded(encoder, part) for part in (splits.train, splits.validation, splits.test))
    unseen, said = [], []
    for number in range(3):
        own, learned = plan_of_network(plan, number), np.flatnonzero(folds.numbers != number)
        trainer = new_trainer(own, network_for("mlp", encoder.row, 10))
        weights = class_weights(plan, replace(splits, train=splits.train.take(learned)))
        Loop(trainer, own, rows.take(learned), validation, Heard(), class_weights=weights).run()
        left_out = rows.take(np.flatnonzero(folds.numbers == number))
        unseen.append((trainer.logits(left_out.inputs), left_out.labels))
        said.append(trainer.logits(test.inputs))
    found = load_classifier(tmp_path / "classifier").logits(splits.test.inputs)
    np.testing.assert_allclose(found, np.mean(said, axis=0, dtype=np.float64), atol=1e-5)
    fit = fit_temperature(*(np.concatenate(part) for part in zip(*unseen, strict=True)))
    assert outcome.temperature_served == outcome.temperature_fitted == pytest.approx(fit.temperature, rel=1e-9)
    alone = figures(said[0], test.labels, fit_temperature(*unseen[0]).temperature)
    assert outcome.ensemble.alone.nll == pytest.approx(alone["nll"], rel=1e-9)
    assert outcome.ensemble.cross_fitted_rows == outcome.calibration_rows == sum(len(labels) for _, labels in unseen)
    assert outcome.calibration_rows == 190, "all but a row of each class"
    assert sum(outcome.counts["calibration"]) == 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_vocabulary_is_learned_from_the_texts_that_its_network_learns_from(framework, tmp_path):
    """Every text has a word of its own, and shares another with one text: where they are apart, nobody knows that."""
    model_dir = write_model(tmp_path / "model")
    parts = [topics(rows, seed) for seed, rows in enumerate((60, 40, 0, 60))]
    splits = Splits(*parts, classes=tuple(TOPICS))
    paired = [f"{text} pair{place // 2} alone{place}" for place, text in enumerate(splits.train.inputs)]
    splits = replace(splits, train=Examples(paired, splits.train.labels))
    settings = {"n_epochs": 6, "batch_size": 16, "learning_rate": 0.01}
    plan = a_plan(framework, "dan", model_dir=model_dir, ensemble=3, cross_fitted=True, **settings)
    outcome = train(plan, splits, tmp_path, Heard())
    folds = folds_of(plan, splits.train)
    tokens = Tokens(Tokenizer.from_folder(model_dir), 64)
    written = load_file(tmp_path / "classifier" / "encoder.safetensors")
    apart = 0
    for number in range(3):
        texts = splits.train.take(folds.learned_by(number)).inputs
        own = Bags.of_training(tokens, texts)
        np.testing.assert_array_equal(written[f"network.{number}/vocabulary"], own.arrays()["vocabulary"])
        words = Counter(word for text in texts for word in set(text.split()))
        apart += sum(count == 1 and word.startswith("pair") for word, count in words.items())
    assert apart > 10
    answers = load_classifier(tmp_path / "classifier").logits(splits.test.inputs)
    assert figures(answers, splits.test.labels, 1.0)["nll"] == pytest.approx(outcome.before.figures.nll, abs=1e-9)
    other = load_classifier(tmp_path / "classifier", framework=FRAMEWORKS[framework == "torch"])
    np.testing.assert_allclose(other.logits(splits.test.inputs), answers, atol=1e-4)
    assert outcome.after.figures.accuracy > 0.95
    assert outcome.reference.accuracy > 0.95
    read = sum(6 * len(folds.learned_by(number)) for number in range(3))
    assert outcome.trained_tokens == read * 10, "texts of ten words"


def test_both_frameworks_cross_fit_alike(tmp_path):
    settings = {"ensemble": 3, "cross_fitted": True, "n_epochs": 4, "learning_rate": 0.01}
    ours, theirs = (train(a_plan(name, **settings), pooled(), tmp_path / name, Heard()) for name in FRAMEWORKS)
    assert ours.temperature_fitted == pytest.approx(theirs.temperature_fitted, rel=1e-2)
    assert ours.after.figures.nll == pytest.approx(theirs.after.figures.nll, abs=2e-3)
    assert ours.ensemble.cross_fitted_rows == theirs.ensemble.cross_fitted_rows


def test_what_is_learned_by_heart_is_not_believed(tmp_path):
    """Labels are drawn: networks are sure of rows they have seen, and right by chance, 1 in 10, on others."""
    splits = pooled()
    drawn = np.random.default_rng(0).integers(0, 10, len(splits.train))
    splits = replace(splits, train=Examples(splits.train.inputs, drawn))
    plan = a_plan(ensemble=3, cross_fitted=True, n_epochs=60, learning_rate=0.01, best_by="macro_f1")
    outcome = train(plan, splits, tmp_path, Heard())
    classifier = load_classifier(tmp_path / "classifier")
    assert fit_temperature(classifier.logits(splits.train.inputs), drawn).temperature < 2
    assert outcome.temperature_fitted > 10


def test_one_that_is_interrupted_anywhere_ends_with_the_same_weights(tmp_path):
    """Eight steps a network: every look at `should_stop` ends one run, and the next goes on."""
    splits, plan = pooled(150), a_plan(n_epochs=2, ensemble=3, cross_fitted=True)
    whole = train(plan, splits, tmp_path / "whole", Heard())
    stops = 0
    for _ in range(40):
        try:
            outcome = train(plan, splits, tmp_path / "parts", Heard(stop_after=1))
            break
        except Stopped:
            stops += 1
    assert stops == 23
    ours, theirs = (weights_in(tmp_path / name) for name in ("whole", "parts"))
    assert sorted(ours) == sorted(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert (outcome.after, outcome.ensemble) == (whole.after, whole.ensemble)
    assert outcome.temperature_fitted == whole.temperature_fitted


def test_checkpoints_of_other_folds_are_not_gone_on_with(tmp_path):
    splits, plan = pooled(150), a_plan(n_epochs=1, ensemble=2, cross_fitted=True)
    train(plan, splits, tmp_path / "job", Heard())
    moved = replace(splits, train=splits.train.take(np.arange(149)))
    train(plan, moved, tmp_path / "job", Heard())
    train(plan, moved, tmp_path / "fresh", Heard())
    ours, theirs = (weights_in(tmp_path / name) for name in ("job", "fresh"))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
