"""Bootstrap intervals: every resample done by hand, and how often they hold the truth."""

import numpy as np
import pytest

from samplers.bootstrap import _draw, bootstrap_intervals, figures


def rows_of(count, classes, seed=0, scale=1.5):
    random = np.random.default_rng(seed)
    logits = random.normal(0, scale, (count, classes))
    labels = np.where(random.random(count) < 0.6, logits.argmax(axis=1), random.integers(0, classes, count))
    return logits, labels


@pytest.mark.parametrize(("count", "classes", "temperature"), [(1, 2, 1.0), (7, 3, 0.5), (60, 4, 2.0), (90, 12, 1.0)])
def test_the_figures_of_each_resample_are_those_of_its_rows(count, classes, temperature):
    """Rows are repeated in the order of the sort, which the stable one keeps."""
    logits, labels = rows_of(count, classes)
    by_hand = []
    for counts in np.concatenate(list(_draw(count, 40, seed=5))):
        drawn = np.repeat(np.arange(count), counts)
        by_hand.append(figures(logits[drawn], labels[drawn], temperature))
    found = bootstrap_intervals(logits, labels, temperature, resamples=40, seed=5)
    for name in by_hand[0]:
        ends = np.percentile([each[name] for each in by_hand], [2.5, 97.5])
        assert found[name] == pytest.approx(tuple(ends), abs=1e-12), name


def test_blocks_change_nothing(monkeypatch):
    logits, labels = rows_of(50, 3)
    whole = bootstrap_intervals(logits, labels, resamples=30)
    monkeypatch.setattr("samplers.bootstrap._AT_ONCE", 350)
    for name, interval in bootstrap_intervals(logits, labels, resamples=30).items():
        assert interval == pytest.approx(whole[name])


def test_the_seed_decides():
    logits, labels = rows_of(50, 3)
    assert bootstrap_intervals(logits, labels, seed=1) == bootstrap_intervals(logits, labels, seed=1)
    assert bootstrap_intervals(logits, labels, seed=1) != bootstrap_intervals(logits, labels, seed=2)


def test_two_temperatures_are_judged_on_the_same_rows():
    logits, labels = rows_of(80, 3)
    cold, hot = (bootstrap_intervals(logits, labels, temperature) for temperature in (0.5, 3.0))
    assert cold["accuracy"] == hot["accuracy"]
    assert cold["nll"] != hot["nll"]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """60 samples of 200 rows out of 20,000; fewer than 50 of 60 at 95 % has odds below 1 in 5,000 a figure."""
    logits, labels = rows_of(20_000, 3, seed=1)
    truth, random = figures(logits, labels), np.random.default_rng(2)
    held = dict.fromkeys(("accuracy", "macro_f1", "mcc", "nll", "brier"), 0)
    for _ in range(60):
        chosen = random.choice(len(labels), 200, replace=False)
        found = bootstrap_intervals(logits[chosen], labels[chosen], resamples=200)
        for name in held:
            held[name] += found[name].low <= truth[name] <= found[name].high
    assert min(held.values()) >= 50, held


@pytest.mark.parametrize("options", [{"confidence": 1.0}, {"confidence": 0.0}, {"resamples": 0}])
def test_what_cannot_be_answered_is_refused(options):
    with pytest.raises(ValueError, match="give one in"):
        bootstrap_intervals([[1.0, 0.0]], [0], **options)
