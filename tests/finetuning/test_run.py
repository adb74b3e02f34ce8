"""A fine-tune as the worker runs it: search, training, diagnoses, event files; and the same after an interruption."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest

from samplers.calibration import fit_temperature, nll
from server.finetuning.channel import Stopped
from server.finetuning.outcome import Epoch
from server.finetuning.reporting.report import report_html
from server.finetuning.run import run
from server.finetuning.search.folds import calibrated_nll
from server.finetuning.training.course import Course
from tests.finetuning.digits import FRAMEWORKS, Heard, a_plan, digit_splits
from tests.finetuning.example import search_plan
from tests.page import Page

TIMES = {"seconds"}


@pytest.fixture
def folder():
    """Return a folder in memory, where a database need not wait for a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as own:
        yield Path(own)


def searching(framework="torch", **changes):
    plan = a_plan(framework, temperature={"start": 2.0, "end": 2.0}, n_epochs=2)
    return plan.model_copy(update={"search": search_plan(**{"n_trials": 2, "folds": 2} | changes)})


def without_times(outcome):
    epochs = [epoch.model_dump(exclude=TIMES) for epoch in outcome.epochs]
    return outcome.model_dump(exclude=TIMES | {"epochs"}) | {"epochs": epochs}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_search_chooses_what_is_trained(folder, framework):
    heard, plan = Heard(), searching(framework)
    outcome = run(plan, digit_splits(200), folder, heard)
    found = outcome.search
    assert found.trials[0].parameters["temperature"] == 1
    assert all(trial.value is not None and 0 < trial.value < math.log(10) for trial in found.trials)
    assert outcome.temperature_final == found.trials[found.best].parameters["temperature"]
    fractions = [fraction for fraction, *_ in heard.reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    told = [data for kind, _, _, data in heard.events if kind == "metrics" and "trial" in data]
    assert [data["trial"] for data in told] == [0, 1]
    diagnoses = [data["code"] for kind, _, _, data in heard.events if kind == "diagnosis"]
    assert diagnoses == [own.code for own in outcome.diagnoses]
    assert "The search" in Page(report_html(outcome, plan)).text


@pytest.mark.parametrize("stop_after", [4, 20, 40])
def test_interrupted_anywhere_it_finds_the_same(folder, stop_after):
    straight, broken = folder / "straight", folder / "broken"
    straight.mkdir(), broken.mkdir()
    expected = run(searching(), digit_splits(200), straight, whole := Heard())
    assert whole.looks == 2 * 2 * 2 * 4 + 2 * 7  # steps of folds and of the training
    with pytest.raises(Stopped):
        run(searching(), digit_splits(200), broken, Heard(stop_after=stop_after))
    assert without_times(run(searching(), digit_splits(200), broken, Heard())) == without_times(expected)


def test_event_files_hold_every_step_and_epoch(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plan = a_plan(temperature={"schedule": "linear", "start": 2.0, "end": 0.5, "per": "step"}, n_epochs=3)
    splits = digit_splits(200)
    with pytest.raises(Stopped):
        run(plan, splits, folder, Heard(stop_after=10))
    outcome = run(plan, splits, folder, Heard())
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    course = Course(plan, 200)
    temperatures = events.Scalars("training/temperature")
    assert [own.step for own in temperatures] == list(range(course.steps))
    assert [own.value for own in temperatures] == pytest.approx([course.temperature(n) for n in range(course.steps)])
    for tag, name in (("validation/nll_at_one", "validation_nll"), ("validation/ece", "validation_ece")):
        values = [own.value for own in events.Scalars(tag)]
        assert values == pytest.approx([getattr(epoch, name) for epoch in outcome.epochs])
    assert all(isinstance(epoch, Epoch) for epoch in outcome.epochs)


def test_each_half_is_judged_at_the_temperature_of_the_other():
    noise = np.random.default_rng(0)
    labels = noise.integers(0, 3, 41)
    logits = 4 * (np.eye(3)[labels] + noise.normal(size=(41, 3)))
    ordered = np.argsort(labels, kind="stable")
    even, odd = ordered[::2], ordered[1::2]
    by_hand = sum(
        nll(logits[[row]], labels[[row]], fit_temperature(logits[other], labels[other]).temperature)
        for own, other in ((even, odd), (odd, even))
        for row in own
    )
    assert calibrated_nll(logits, labels) == pytest.approx(by_hand / 41)
    assert calibrated_nll(logits, labels) > nll(logits, labels, fit_temperature(logits, labels).temperature)
    assert calibrated_nll(logits[:1], labels[:1]) == pytest.approx(nll(logits[:1], labels[:1]))


def test_what_a_fold_is_worth_does_not_depend_on_the_scale_of_logits():
    noise = np.random.default_rng(1)
    labels = noise.integers(0, 3, 60)
    logits = np.eye(3)[labels] + noise.normal(size=(60, 3))
    assert calibrated_nll(logits, labels) == pytest.approx(calibrated_nll(3 * logits, labels))
