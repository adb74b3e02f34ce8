"""Diagnoses: each fires where it should, and holds its tongue where it must."""

import math

import pytest

from server.finetuning.diagnosis.diagnostics import diagnose
from server.finetuning.diagnosis.signs_of_training import reversals
from server.finetuning.outcome import Ensembled
from server.finetuning.training.first_steps import FirstSteps, first_steps
from server.finetuning.training.trainer import StepFigures
from tests.finetuning.example import epochs, outcome, plan

CLASSES = 5
LN_K = math.log(CLASSES)


@pytest.fixture(scope="module")
def healthy():
    """A fine-tune of 2,000 rows that learned, was calibrated and beats its reference."""
    found = outcome(CLASSES, rows=4000, temperature_final=2.5)
    return found.model_copy(update={"epochs": epochs(best := 8), "best_epoch": best - 3})


def codes(found, asked=None, first=None):
    return [own.code for own in diagnose(asked or plan(), found, first)]


def one(code, found, asked=None, first=None):
    [own] = [own for own in diagnose(asked or plan(), found, first) if own.code == code]
    return own


def test_nothing_is_said_where_all_is_well(healthy):
    assert codes(healthy) == []


def slow(found, **changes):
    series = {"validation_accuracy": 0.21, "validation_nll": LN_K, "validation_nll_at_training": LN_K} | changes
    return found.model_copy(update={"epochs": epochs(8, **{name: [own] * 8 for name, own in series.items()})})


def early(times):
    return FirstSteps(steps=20, temperature=2.0, loss=times * LN_K, loss_at_one=1.0, gradient_norm=0.3)


def test_a_slow_start_with_even_probabilities_asks_for_a_higher_rate_and_no_higher_temperature(healthy):
    said = one("slow_start", slow(healthy), first=early(1.01))
    assert "a higher temperature would make gradients smaller" in said.message
    assert "Raise learning_rate" in said.message
    assert said.evidence["early_loss_over_ln_k"] == pytest.approx(1.01)


def test_a_slow_start_with_a_saturated_softmax_asks_for_a_higher_temperature(healthy):
    said = one("slow_start", slow(healthy), first=early(4))
    assert "Here a higher temperature helps" in said.message


def test_a_slow_start_without_first_steps_looks_at_the_first_epoch(healthy):
    said = one("slow_start", slow(healthy, loss=1.3 * LN_K))
    assert "does not tell whether" in said.message
    assert said.evidence["steps_looked_at"] is None


def test_a_slow_start_names_the_rate_that_coupling_has_left(healthy):
    said = one("slow_start", slow(healthy, temperature=0.5), plan(lr_coupling="inverse_square"), early(1))
    assert "lr_coupling has lowered to 0.0005" in said.message  # 0.002 · 0.5²


@pytest.mark.parametrize("change", [{"validation_accuracy": 0.5}, {"validation_nll_at_training": 0.9 * LN_K}])
def test_it_is_no_slow_start_if_either_figure_moved(healthy, change):
    assert "slow_start" not in codes(slow(healthy, **change), first=early(1))


def test_first_steps_are_means():
    steps = [StepFigures(1.0, 2.0, 3.0), StepFigures(2.0, 4.0, 6.0)]
    assert first_steps(steps, 0.5) == FirstSteps(steps=2, temperature=0.5, loss=1.5, loss_at_one=3.0, gradient_norm=4.5)


@pytest.mark.parametrize(
    ("values", "turns"),
    [
        ([1.0, 0.8, 0.6, 0.5], 0),
        ([1.0, 0.5, 0.9], 1),
        ([1.0, 0.5, 0.9, 0.4], 2),
        ([1.0, 1.2, 0.9, 1.3, 1.0], 3),
        ([1.0, 1.01, 0.99, 1.01, 0.99, 1.0], 0),
        ([1.0, 0.9, 0.92, 0.8, 0.82, 0.7, 0.72], 0),
        ([1.0, 0.98, 0.96, 0.94, 0.97, 1.0, 0.97, 0.94], 2),
        ([1.0], 0),
    ],
)
def test_reversals_by_hand(values, turns):
    assert reversals(values) == turns


UP_AND_DOWN = [1.5, 1.0, 1.3, 0.9, 1.4, 0.9, 1.2, 1.0]
SMOOTH = [1.6, 1.4, 1.3, 1.25, 1.22, 1.2, 1.2, 1.21]


def course(found, at_one, at_training):
    own = epochs(8, validation_nll=at_one, validation_nll_at_training=at_training)
    return found.model_copy(update={"epochs": own})


def test_weights_that_overshoot_under_annealing_are_told_from_a_moving_ruler(healthy):
    said = one("oscillating_validation", course(healthy, UP_AND_DOWN, UP_AND_DOWN))
    assert 'lr_coupling "inverse_square"' in said.message
    coupled = one("oscillating_validation", course(healthy, UP_AND_DOWN, SMOOTH), plan(lr_coupling="inverse_square"))
    assert "Lower learning_rate" in coupled.message
    assert codes(course(healthy, SMOOTH, UP_AND_DOWN)) == ["moving_ruler"]
    assert codes(course(healthy, SMOOTH, SMOOTH)) == []


def test_overfitting_is_no_oscillation_and_three_epochs_are_too_few(healthy):
    assert codes(course(healthy, [1.5, 1.0, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6], SMOOTH)) == []
    short = healthy.model_copy(update={"epochs": epochs(3, validation_nll=[1.0, 2.0, 1.0]), "best_epoch": 1})
    assert codes(short) == []


def test_the_last_epoch_that_is_the_best_asks_for_more(healthy):
    falling = healthy.model_copy(update={"epochs": epochs(8, validation_nll=[3, 2.5, 2, 1.7, 1.5, 1.3, 1.2, 1.1])})
    assert "still_improving" in codes(falling.model_copy(update={"best_epoch": 8}))
    assert "still_improving" not in codes(falling.model_copy(update={"best_epoch": 7}))
    level = epochs(8, validation_nll=[3, 2.5, 2, 1.7, 1.5, 1.3, 1.2, 1.19])
    assert "still_improving" not in codes(healthy.model_copy(update={"epochs": level, "best_epoch": 8}))


def test_a_final_temperature_far_from_the_fitted_one(healthy):
    said = one("overconfident_at_final_temperature", healthy.model_copy(update={"temperature_final": 0.5}))
    assert said.level == "info"
    assert "which mends that" in said.message
    assert "by heart" in said.message  # 0.56 on training rows against 1.36 on validation rows
    even = healthy.model_copy(update={"temperature_final": 0.5, "epochs": epochs(8, loss_at_one=[1.2] * 8)})
    assert "by heart" not in one("overconfident_at_final_temperature", even).message
    assert "underconfident_at_final_temperature" in codes(healthy.model_copy(update={"temperature_final": 5.0}))
    served = healthy.model_copy(update={"temperature_final": 0.5, "temperature_served": 0.5})
    assert one("overconfident_at_final_temperature", served).level == "warn"
    unfitted = healthy.model_copy(update={"temperature_final": 0.5, "temperature_fitted": None})
    assert codes(unfitted) == []


def test_a_fitted_temperature_of_few_rows_is_not_believed():
    few = outcome(CLASSES, rows=80, temperature_final=0.5)
    assert "overconfident_at_final_temperature" not in codes(few)
    assert "few_calibration_rows" in codes(few)


def test_few_calibration_rows_are_counted_and_the_fraction_is_reckoned(healthy):
    assert "few_calibration_rows" not in codes(healthy)
    few = healthy.model_copy(update={"counts": healthy.counts | {"calibration": [20] * 5}})
    total = sum(map(sum, few.counts.values()))
    assert f"{math.ceil(100 * 200 / total) / 100:g}" in one("few_calibration_rows", few).message
    assert "few_calibration_rows" not in codes(few, plan(method="none"))  # the calibration's method


def test_rows_that_networks_have_left_out_count_as_calibration_rows(healthy):
    none = healthy.counts | {"calibration": [0] * 5}
    alone = healthy.after.figures
    for rows, fires in ((199, True), (200, False)):
        ensemble = Ensembled(members=[], alone=alone, cross_fitted_rows=rows)
        found = healthy.model_copy(update={"counts": none, "ensemble": ensemble})
        assert ("few_calibration_rows" in codes(found, plan(cross_fitted=True))) == fires
    few = found.model_copy(update={"ensemble": ensemble.model_copy(update={"cross_fitted_rows": 199})})
    assert "Give at least 400 rows in all" in one("few_calibration_rows", few, plan(cross_fitted=True)).message


def test_probabilities_that_are_served_wrong_are_told_by_the_test_part(healthy):
    raw = healthy.model_copy(update={"after": healthy.before, "temperature_served": 1.0})
    assert 'serving_temperature "fitted"' in one("served_overconfident", raw).message
    timid = outcome(CLASSES, rows=4000, sharpness=0.3)
    timid = timid.model_copy(update={"after": timid.before, "temperature_served": 1.0, "temperature_fitted": None})
    assert "served_underconfident" in codes(timid)
    assert "more of them" in one("served_underconfident", timid).message


def test_classes_without_an_answer_are_named(healthy):
    def moved(row):  # what was taken for class 2 is taken for class 0
        return [row[0] + row[2], row[1], 0, *row[3:]]

    ignored = healthy.model_copy(update={"confusion": [moved(row) for row in healthy.confusion]})
    said = one("ignored_classes", ignored)
    assert said.evidence["classes"] == [healthy.classes[2]]
    assert 'class_weight "balanced"' in said.message
    assert "already" in one("ignored_classes", ignored, plan(class_weight="balanced")).message
    few = ignored.model_copy(update={"counts": ignored.counts | {"test": [500, 500, 4, 500, 500]}})
    assert "ignored_classes" not in codes(few)


def test_smoothing_that_calibration_undoes_or_makes_worse(healthy):
    smoothed = plan(label_smoothing=0.1)
    assert "smoothing_against_temperature" not in codes(healthy.model_copy(update={"temperature_final": 0.5}), smoothed)
    undone = healthy.model_copy(update={"temperature_final": 4.0})
    said = one("smoothing_against_temperature", undone, smoothed)
    assert said.level == "info"
    assert said.evidence["aimed_at"] == pytest.approx(0.92)
    worse = undone.model_copy(update={"before": undone.after, "after": undone.before})
    assert one("smoothing_against_temperature", worse, smoothed).level == "warn"
    assert "smoothing_against_temperature" not in codes(worse)


def test_the_reference_is_lost_to_only_beyond_the_interval(healthy):
    def against(accuracy):
        return codes(
            healthy.model_copy(update={"reference": healthy.reference.model_copy(update={"accuracy": accuracy})})
        )

    own = healthy.after.intervals["accuracy"]
    assert against(own.high + 0.01) == ["loses_to_reference"]
    assert against(healthy.after.figures.accuracy) == ["no_better_than_reference"]
    assert against(own.low - 0.01) == []
    assert codes(healthy.model_copy(update={"reference": None})) == []


def test_no_more_than_the_most_frequent_class_is_nothing_learned(healthy):
    most = max(healthy.counts["test"]) / sum(healthy.counts["test"])
    figures = healthy.after.figures.model_copy(update={"accuracy": most + 0.005})
    idle = healthy.model_copy(update={"after": healthy.after.model_copy(update={"figures": figures})})
    assert "learned_nothing" in codes(idle)


def test_warnings_come_first(healthy):
    found = diagnose(plan(), healthy.model_copy(update={"temperature_final": 0.5, "reference": healthy.after.figures}))
    levels = [own.level for own in found]
    assert levels == sorted(levels, reverse=True)
