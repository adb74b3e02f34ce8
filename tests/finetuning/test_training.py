"""A whole fine-tune: what is told of it, what is written, and what the written classifier answers."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from samplers.calibration import fit_temperature, nll, probabilities
from server.errors import InvalidRequestError
from server.finetuning.channel import Stopped
from server.finetuning.errors import ClassifierError
from server.finetuning.examples import Splits
from server.finetuning.training.classifier import load_classifier
from server.finetuning.training.preparation import class_weights
from server.finetuning.training.train import train
from tests.finetuning.digits import FRAMEWORKS, Heard, a_plan, digit_splits
from tests.finetuning.topics import TOPICS, topics, write_model


@pytest.fixture
def model_dir(tmp_path):
    return write_model(tmp_path / "model")


def topic_splits():
    return Splits(*(topics(rows, seed) for seed, rows in enumerate((120, 40, 40, 60))), classes=tuple(TOPICS))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_texts_are_told_apart_and_the_written_classifier_answers_as_it_was_judged(framework, model_dir, tmp_path):
    splits = topic_splits()
    plan = a_plan(framework, "dan", model_dir=model_dir, n_epochs=6, batch_size=16, learning_rate=0.01)
    outcome = train(plan, splits, tmp_path, Heard())
    assert outcome.after.figures.accuracy > 0.95
    assert outcome.reference.accuracy > 0.95
    assert outcome.counts == {"train": [60, 60], "validation": [20, 20], "calibration": [20, 20], "test": [30, 30]}
    assert np.sum(outcome.confusion) == 60
    assert outcome.trained_tokens == 6 * 120 * 8, "six epochs of texts of eight words"
    (model_dir / "tokenizer.json").unlink()  # a classifier needs nothing but its own folder
    classifier = load_classifier(tmp_path / "classifier")
    assert classifier.classes == ["sea", "bread"]
    assert classifier.temperature == outcome.temperature_served
    logits = classifier.logits(splits.test.inputs)
    assert nll(logits, splits.test.labels) == pytest.approx(outcome.before.figures.nll, abs=1e-9)
    assert classifier.logits(["oven dough"]).argmax() == 1
    assert classifier.logits(["words that nobody has seen", ""]).shape == (2, 2)
    assert classifier.logits([]).shape == (0, 2)
    with pytest.raises(InvalidRequestError, match="dan takes texts"):
        classifier.logits(np.zeros((1, 3), np.float32))


def test_a_classifier_answers_alike_in_the_other_framework(tmp_path):
    splits = digit_splits(300)
    train(a_plan("torch", "cnn"), splits, tmp_path, Heard())
    ours, theirs = (load_classifier(tmp_path / "classifier", framework=name) for name in FRAMEWORKS)
    rows = splits.test.inputs
    np.testing.assert_allclose(ours.logits(rows), theirs.logits(rows), atol=1e-4)
    np.testing.assert_array_equal(ours.logits(rows[:1].tolist()), ours.logits(rows[:1]))
    for wrong in ([[1.0, 2.0]], [["x"] * 64], np.full((1, 64), np.nan), ["a text"]):
        with pytest.raises(InvalidRequestError):
            ours.logits(wrong)


def test_calibration_is_fitted_to_its_own_part_and_judged_on_the_test_part(tmp_path):
    splits = digit_splits(300)
    outcome = train(a_plan(n_epochs=12, learning_rate=0.01), splits, tmp_path, Heard())
    classifier = load_classifier(tmp_path / "classifier")
    fit = fit_temperature(classifier.logits(splits.calibration.inputs), splits.calibration.labels)
    assert outcome.temperature_fitted == outcome.temperature_served == pytest.approx(fit.temperature, rel=1e-9)
    assert outcome.before.temperature == 1.0
    assert outcome.after.temperature == outcome.temperature_served
    assert outcome.after.figures.accuracy == outcome.before.figures.accuracy
    assert outcome.after.figures.nll < outcome.before.figures.nll
    interval = outcome.before.intervals["accuracy"]
    assert interval.low < outcome.before.figures.accuracy < interval.high
    assert outcome.epochs[outcome.best_epoch - 1].validation_nll == min(
        epoch.validation_nll for epoch in outcome.epochs
    )
    assert outcome.reference is None
    assert outcome.trained_tokens is None
    assert outcome.parameters == 64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10


def test_the_plan_says_what_chooses_the_best_epoch(tmp_path):
    """At a high rate without decay both scores go up and down, and not together."""
    splits = digit_splits(200)
    for best_by, score in (("nll", lambda own: -own.validation_nll), ("macro_f1", lambda own: own.validation_macro_f1)):
        outcome = train(a_plan(n_epochs=8, learning_rate=0.03, best_by=best_by), splits, tmp_path / best_by, Heard())
        scores = [score(own) for own in outcome.epochs]
        assert outcome.best_epoch == 1 + scores.index(max(scores))
        assert len(set(scores)) > 2


def test_annealing_sharpens_what_is_served_four_times_with_no_weight_changed(tmp_path):
    """The same weights at the temperatures of both ends of 2 -> 0.5: odds to the power of four."""
    splits = digit_splits(300)
    schedule = {"schedule": "linear", "start": 2.0, "end": 0.5, "per": "step"}
    outcome = train(a_plan(temperature=schedule, served="final"), splits, tmp_path, Heard())
    assert outcome.temperature_final == outcome.temperature_served == 0.5
    logits = load_classifier(tmp_path / "classifier").logits(splits.test.inputs).astype(np.float64)
    log_odds = [np.log(part[:, :1]) - np.log(part) for part in (probabilities(logits, 2.0), probabilities(logits, 0.5))]
    np.testing.assert_allclose(4 * log_odds[0], log_odds[1], atol=1e-6)


@pytest.mark.parametrize(("served", "expected"), [("final", 2.0), (3.5, 3.5)])
def test_the_plan_says_what_is_served(tmp_path, served, expected):
    plan = a_plan(n_epochs=1, temperature={"start": 2.0, "end": 2.0}, served=served)
    outcome = train(plan, digit_splits(100), tmp_path, Heard())
    assert outcome.temperature_served == outcome.after.temperature == expected


def test_without_calibration_rows_nothing_is_fitted(tmp_path):
    splits = digit_splits(100)
    bare = Splits(splits.train, splits.validation, splits.calibration.take(np.arange(0)), splits.test, splits.classes)
    outcome = train(a_plan(n_epochs=1), bare, tmp_path, Heard())
    assert outcome.temperature_fitted is None
    assert outcome.temperature_served == 1.0


def test_classes_weigh_what_the_plan_says():
    splits = digit_splits(100)
    counts = np.bincount(splits.train.labels, minlength=10)
    balanced = class_weights(a_plan(class_weight="balanced"), splits)
    np.testing.assert_allclose(balanced * counts, 10.0, rtol=1e-6)
    named = class_weights(a_plan(class_weight={"3": 2.5}), splits)
    np.testing.assert_array_equal(named, [1, 1, 1, 2.5, 1, 1, 1, 1, 1, 1])
    assert class_weights(a_plan(), splits) is None
    with pytest.raises(InvalidRequestError, match="class_weight names seven, which no row has"):
        class_weights(a_plan(class_weight={"seven": 1.0}), splits)


def test_rows_that_do_not_fit_the_method_are_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match="mlp takes numeric rows, not texts"):
        train(a_plan(), topic_splits(), tmp_path, Heard())
    splits = digit_splits(100)
    empty = Splits(splits.train, splits.train.take(np.arange(0)), splits.test, splits.test, splits.classes)
    with pytest.raises(InvalidRequestError, match="validation part has no rows"):
        train(a_plan(), empty, tmp_path, Heard())


def test_a_damaged_classifier_is_refused(tmp_path):
    train(a_plan(n_epochs=1), digit_splits(100), tmp_path, Heard())
    folder = tmp_path / "classifier"
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "weights.safetensors", "encoder.safetensors"}
    assert load_file(folder / "weights.safetensors")["head.weight"].shape == (10, 64)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"method": "rm"}))
    with pytest.raises(ClassifierError, match="train it again"):
        load_classifier(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "weights.safetensors").write_bytes(b"0")
    with pytest.raises(ClassifierError, match="SHA-256"):
        load_classifier(folder)
    with pytest.raises(ClassifierError, match="cannot be read"):
        load_classifier(tmp_path / "nowhere")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_ensemble_answers_with_the_mean_of_networks_that_other_seeds_have_trained(framework, tmp_path):
    splits, settings = digit_splits(200), {"n_epochs": 4, "learning_rate": 0.01}
    heard = Heard()
    outcome = train(a_plan(framework, ensemble=3, **settings), splits, tmp_path / "whole", heard)
    rows = splits.test.inputs
    alone = []
    for number in range(3):
        own, folder = a_plan(framework, seed=number << 32, **settings), tmp_path / str(number)
        train(own, splits, folder, Heard())
        alone.append(load_classifier(folder / "classifier").logits(rows).astype(np.float64))
    assert not np.allclose(alone[0], alone[1], atol=0.1)
    found = load_classifier(tmp_path / "whole" / "classifier")
    np.testing.assert_allclose(found.logits(rows), np.mean(alone, axis=0), atol=1e-5)
    fit = fit_temperature(found.logits(splits.calibration.inputs), splits.calibration.labels)
    assert outcome.temperature_served == pytest.approx(fit.temperature, rel=1e-9)
    assert outcome.parameters == 3 * (64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10)
    assert outcome.ensemble.alone.accuracy == np.mean(alone[0].argmax(axis=1) == splits.test.labels)
    assert len(outcome.ensemble.members) == 3
    assert len(outcome.epochs) == 4
    assert [message[:20] for message in heard.messages()] == ["network 2 of 3 is tr", "network 3 of 3 is tr"]
    fractions = [fraction for fraction, *_ in heard.reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_an_ensemble_that_is_interrupted_anywhere_ends_with_the_same_weights(tmp_path):
    """Ten steps a network: every look at `should_stop` ends one run, and the next goes on."""
    splits, plan = digit_splits(150), a_plan(n_epochs=2, ensemble=2)
    whole = train(plan, splits, tmp_path / "whole", Heard())
    stops = 0
    for _ in range(25):
        try:
            outcome = train(plan, splits, tmp_path / "parts", Heard(stop_after=1))
            break
        except Stopped:
            stops += 1
    assert stops == 19
    ours, theirs = (load_file(tmp_path / name / "classifier" / "weights.safetensors") for name in ("whole", "parts"))
    assert sorted(ours) == sorted(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert outcome.after.figures == whole.after.figures
    assert outcome.ensemble == whole.ensemble
