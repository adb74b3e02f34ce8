"""The search on functions whose best setting is known, interrupted and not."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest

from server.errors import InvalidRequestError, NumericalError
from server.finetuning.channel import Stopped
from server.finetuning.examples import Examples, Splits
from server.finetuning.search.search import folds_of, search
from server.finetuning.search.search_space import control, grid, settled, trained_plan
from tests.finetuning.example import plan, search_plan

LABELS = np.repeat(np.arange(3), 20)
NOTHING = Examples([], np.zeros(0, np.int64))
SPLITS = Splits(Examples(["x"] * 60, LABELS), NOTHING, NOTHING, NOTHING, ("a", "b", "c"))
BEST = 1.6


@pytest.fixture
def folder():
    """Return a folder in memory, where a database need not wait for a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as own:
        yield Path(own)


class Listener:
    should_stop = False

    def __init__(self):
        self.events, self.fractions = [], []

    def progress(self, fraction, **rest):
        self.fractions.append(fraction)

    def event(self, type, message, *, level="info", data=None):
        self.events.append((type, message, level, data))


class Bowl:
    """A parabola over ln T whose least value is at 1.6; each fold has a noise of its own."""

    def __init__(self, noise=0.0, stop_at=None, diverge_above=math.inf):
        self.noise, self.stop_at, self.diverge_above = noise, stop_at, diverge_above
        self.calls, self.plans = 0, []

    def __call__(self, chosen, fold, report, channel):
        self.calls += 1
        self.plans.append(chosen)
        if self.calls == self.stop_at:
            raise Stopped
        own = chosen.temperature
        if own.start > self.diverge_above:
            raise NumericalError("left the finite numbers")
        _, validation = fold
        value = math.log(own.start / BEST) ** 2 + self.noise * math.sin(validation[0] + 10 * own.start)
        for epoch in range(1, chosen.hyperparameters.n_epochs + 1):
            report(epoch, value + 1 / epoch)
        channel.progress(1.0, epoch=0, step=0, eta_s=0.0)
        return value


def asked(**changes):
    own = {"schedule": "constant", "start": 2.0, "end": 2.0, "n_epochs": 2}
    rest = {name: changes.pop(name) for name in list(changes) if name in own or name == "points"}
    return plan(**own | rest, search=search_plan(**{"n_trials": 10, "high": 3.0} | changes))


@pytest.mark.parametrize(("algorithm", "trials", "reach"), [("grid", 14, 0.4), ("tpe", 25, 0.4)])
def test_the_best_temperature_is_found_and_the_control_comes_first(folder, algorithm, trials, reach):
    train, listener = Bowl(), Listener()
    chosen, found, seconds = search(asked(algorithm=algorithm, n_trials=trials), SPLITS, folder, listener, train)
    assert len(found.trials) == trials
    assert found.trials[0].parameters == {"temperature": 1.0}
    assert found.trials[0].value == pytest.approx(math.log(BEST) ** 2)
    assert abs(chosen.temperature.start - BEST) < reach
    assert chosen.temperature.start == chosen.temperature.end == found.trials[found.best].parameters["temperature"]
    assert found.gain == pytest.approx(found.trials[0].value - found.trials[found.best].value)
    assert not found.inside_noise
    assert [own.number for own in found.trials] == list(range(trials))
    assert seconds > 0
    assert listener.fractions == sorted(listener.fractions)
    assert [type for type, *_ in listener.events] == ["metrics"] * trials


def test_a_gaussian_process_finds_it_in_few_trials(folder):
    pytest.importorskip("torch")
    chosen, _, _ = search(asked(algorithm="gp", n_trials=9, folds=2), SPLITS, folder, Listener(), Bowl())
    assert abs(chosen.temperature.start - BEST) < 0.1


@pytest.mark.parametrize("stop_at", [1, 2, 8, 14])
def test_an_interrupted_search_ends_as_one_that_was_not(folder, stop_at):
    whole, broken = folder / "whole", folder / "broken"
    whole.mkdir(), broken.mkdir()
    straight, first, second = Bowl(0.05), Bowl(0.05, stop_at=stop_at), Bowl(0.05)
    expected = search(asked(), SPLITS, whole, Listener(), straight)
    with pytest.raises(Stopped):
        search(asked(), SPLITS, broken, Listener(), first)
    found = search(asked(), SPLITS, broken, Listener(), second)
    assert found.search == expected.search
    assert found.plan == expected.plan
    assert first.calls - 1 + second.calls == straight.calls  # no finished fold was trained again
    again = search(asked(), SPLITS, broken, Listener(), third := Bowl(0.05))
    assert again.search == found.search
    assert third.calls == 0


def test_bad_trials_are_given_up_early_and_the_control_never(folder):
    train = Bowl()
    _, found, _ = search(asked(n_trials=20), SPLITS, folder, Listener(), train)
    given_up = [own for own in found.trials if own.value is None]
    assert given_up
    assert all(own.number >= 4 for own in given_up)
    assert all(own.spread is None for own in given_up)
    assert train.calls < 20 * 3
    worst = max(own.value for own in found.trials if own.value is not None and own.number >= 4)
    for own in given_up:
        assert math.log(own.parameters["temperature"] / BEST) ** 2 > min(worst, found.trials[0].value) / 10


def test_a_grid_gives_nothing_up(folder):
    _, found, _ = search(asked(algorithm="grid", n_trials=12), SPLITS, folder, Listener(), Bowl())
    assert all(own.value is not None for own in found.trials)


def test_a_trial_that_diverges_is_told_of_and_the_control_may_not(folder):
    listener = Listener()
    _, found, _ = search(asked(), SPLITS, folder, listener, Bowl(diverge_above=1.2))
    lost = [own for own in found.trials if own.parameters["temperature"] > 1.2]
    assert lost
    assert all(own.value is None for own in lost)
    assert [level for *_, level, _ in listener.events].count("warn") == len(lost)
    with pytest.raises(NumericalError):
        search(asked(n_epochs=3), SPLITS, folder, Listener(), Bowl(diverge_above=0.5))


def test_noise_is_told_from_gain(folder):
    """Folds of one trial share what makes them hard, and only their differences from the control count."""

    def flat(chosen, fold, report, channel):
        _, validation = fold
        return 1.0 + 0.01 * math.sin(37 * chosen.temperature.start * (1 + validation[0]))

    def shifted(chosen, fold, report, channel):
        _, validation = fold
        return float(validation[0]) + (0.01 if chosen.temperature.start == 1 else 0.0)

    assert search(asked(n_trials=3), SPLITS, folder, Listener(), flat).search.inside_noise
    assert not search(asked(n_trials=4), SPLITS, folder, Listener(), shifted).search.inside_noise


def test_macro_f1_is_raised(folder):
    def hill(chosen, fold, report, channel):
        return 1 - math.log(chosen.temperature.start / BEST) ** 2

    given = asked(algorithm="grid", n_trials=9, objective="macro_f1")
    _, found, _ = search(given, SPLITS, folder, Listener(), hill)
    assert found.gain > 0
    assert found.trials[found.best].value == max(own.value for own in found.trials)


def test_only_the_control_is_tried_if_one_trial_is_asked_for(folder):
    chosen, found, _ = search(asked(n_trials=1), SPLITS, folder, Listener(), Bowl())
    assert found.best == 0
    assert found.gain == 0
    assert found.inside_noise
    assert chosen.temperature.start == 1


def test_everything_may_be_chosen(folder):
    train = Bowl()
    given = asked(also=("end", "schedule", "learning_rate"), n_trials=12)
    chosen, found, _ = search(given, SPLITS, folder, Listener(), train)
    assert found.trials[0].parameters == {"temperature": 1.0, "schedule": "constant", "learning_rate": 0.002}
    assert {own.temperature.schedule for own in train.plans} > {"constant"}
    assert all(0.0002 <= own.hyperparameters.learning_rate <= 0.02 for own in train.plans)
    assert trained_plan(given, found) == chosen
    for own in train.plans:
        assert own.temperature.schedule != "constant" or own.temperature.start == own.temperature.end


def test_the_control_is_constant_whatever_the_schedule(folder):
    train = Bowl()
    given = asked(schedule="cosine", end=0.5, n_trials=2)
    _, found, _ = search(given, SPLITS, folder, Listener(), train)
    assert train.plans[0].temperature.schedule == "constant"
    assert train.plans[0].temperature.end == 1
    assert train.plans[-1].temperature.schedule == "cosine"
    assert train.plans[-1].temperature.end == 0.5
    assert trained_plan(given, found.model_copy(update={"best": 0})).temperature.schedule == "constant"


def test_a_piecewise_schedule_keeps_its_shape():
    given = asked(schedule="piecewise", points=((0.0, 2.0), (0.5, 1.0), (1.0, 4.0)))
    moved = settled(given, {"temperature": 1.0}).temperature
    assert moved.points == ((0.0, 1.0), (0.5, 0.5), (1.0, 2.0))
    assert (moved.start, moved.end) == (1.0, 2.0)


def test_a_grid_is_even_on_the_logarithmic_scale():
    points = [own["temperature"] for own in grid(asked(algorithm="grid", n_trials=4, low=0.1, high=10.0))]
    assert points == pytest.approx([0.1, 1.0, 10.0])
    both = grid(asked(algorithm="grid", n_trials=17, also=("end", "schedule")))
    assert len(both) == 16
    assert len({tuple(own.items()) for own in both}) == 16
    assert [own["temperature"] for own in grid(asked(algorithm="grid", n_trials=2))] == pytest.approx([math.sqrt(0.3)])
    assert set(control(asked(also=("end",)))) == {"temperature", "end"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"low": 1.5}, "search.low"),
        ({"high": 0.9}, "search.high"),
        ({"also": ("end",)}, "search.also"),
        ({"algorithm": "grid", "also": ("schedule",), "n_trials": 4}, "search.n_trials"),
        ({"folds": 21}, "search.folds"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(folder, changes, param):
    with pytest.raises(InvalidRequestError) as refused:
        search(asked(**changes), SPLITS, folder, Listener(), Bowl())
    assert refused.value.param == param


def test_folds_hold_every_row_once_and_every_class_alike():
    folds = folds_of(LABELS, 4, seed=3)
    assert sorted(np.concatenate([validation for _, validation in folds])) == list(range(60))
    for train, validation in folds:
        assert not set(train) & set(validation)
        assert np.bincount(LABELS[validation]).tolist() == [5, 5, 5]
    rare = np.array([0] * 9 + [1])
    assert len(folds_of(rare, 3, seed=0)) == 3
