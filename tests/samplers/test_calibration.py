"""Calibration: published fixtures, scikit-learn as the oracle, and laws that hold for all logits."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from sklearn import metrics
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

from samplers.calibration import (
    accuracy,
    adaptive_ece,
    brier,
    classwise_ece,
    confusion,
    ece,
    figures,
    fit_temperature,
    macro_f1,
    mcc,
    nll,
    probabilities,
    reliability,
)

FIVE = np.array([[2, 1, 0.1], [0.5, 2.5, 0], [1, 1, 3], [3, 0.2, 0.1], [0.1, 0.2, 0.3]])
FIVE_LABELS = np.array([0, 1, 2, 1, 0])


def two_thousand():
    """Draw labels from softmax(z) and give out 2.5 z, so that the true temperature is 2.5."""
    random = np.random.RandomState(0)
    z = random.randn(2000, 5) * 2
    true = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = (random.rand(2000)[:, None] > true.cumsum(axis=1)).sum(axis=1).clip(0, 4)
    return 2.5 * z, labels


LOGITS, LABELS = two_thousand()


@st.composite
def classified(draw, *, least=1, most=40):
    rows, classes = draw(st.integers(least, most)), draw(st.integers(2, 6))
    logits = draw(arrays(np.float64, (rows, classes), elements=st.floats(-30, 30)))
    return logits, draw(arrays(np.int64, rows, elements=st.integers(0, classes - 1)))


temperatures = st.floats(0.05, 20)
few = settings(max_examples=40, deadline=None)


def test_the_softmax_that_a_widely_copied_table_gets_wrong():
    for temperature, expected in [(0.5, [0.8638, 0.1169, 0.0193]), (1, [0.6590, 0.2424, 0.0986]),
                                  (2, [0.5017, 0.3043, 0.1940])]:  # fmt: skip
        assert probabilities([[2, 1, 0.1]], temperature)[0] == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("temperature", "nats", "smoothed", "squares", "with_15", "with_10"),
    [
        (0.5, 1.425153206946, 1.537153206946, 0.563661494535, 0.294304776373, 0.294304776373),
        (1, 0.992970638434, 1.048970638434, 0.547105308834, 0.399192085747, 0.327755693533),
        (2, 0.937385370349, 0.965385370349, 0.551973155709, 0.468603183838, 0.310384984465),
    ],
)
def test_known_answers_of_five_rows(temperature, nats, smoothed, squares, with_15, with_10):
    given = (FIVE, FIVE_LABELS, temperature)
    assert nll(*given) == pytest.approx(nats, abs=1e-12)
    assert nll(*given, label_smoothing=0.1) == pytest.approx(smoothed, abs=1e-12)
    assert brier(*given) == pytest.approx(squares, abs=1e-12)
    assert ece(*given) == pytest.approx(with_15, abs=1e-12)
    assert ece(*given, bins=10) == pytest.approx(with_10, abs=1e-12)


def test_the_fixture_of_two_thousand_rows_is_the_one_that_was_published():
    assert LABELS[:10].tolist() == [0, 1, 1, 1, 4, 3, 1, 2, 3, 2]
    assert LABELS.sum() == 3916
    assert LOGITS[0, 0] == pytest.approx(8.820261729838)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (1.0, {"accuracy": 0.638, "macro_f1": 0.637805, "nll": 1.2762865143, "brier": 0.5498543712,
               "ece": 0.2056625730, "adaptive_ece": 0.2045976180, "classwise_ece": 0.0850970290,
               "mce": 0.3549849942, "rmsce": 0.2153413594, "ace": 0.2281902499}),
        (2.5317966, {"accuracy": 0.638, "macro_f1": 0.637805, "nll": 0.9103181801, "brier": 0.4793453276,
                     "ece": 0.0175872948, "adaptive_ece": 0.0209509885, "classwise_ece": 0.0226032393,
                     "mce": 0.1434751360, "rmsce": 0.0211066194, "ace": 0.0288968147}),
    ],
)  # fmt: skip
def test_known_answers_of_two_thousand_rows(temperature, expected):
    """The greatest gap, the root of the mean square and netcal's ACE are those of the bins of a reliability diagram."""
    bins = reliability(LOGITS, LABELS, temperature)
    gaps = np.array([abs(found.confidence - found.accuracy) for found in bins])
    shares = np.array([found.rows for found in bins]) / len(LABELS)
    of_bins = {"mce": gaps.max(), "rmsce": math.sqrt(shares @ gaps**2), "ace": gaps.mean()}
    found = figures(LOGITS, LABELS, temperature) | of_bins
    precise = {name: value for name, value in expected.items() if name not in ("macro_f1", "rmsce")}
    assert {name: found[name] for name in precise} == pytest.approx(precise, abs=2e-8)
    assert found["macro_f1"] == pytest.approx(expected["macro_f1"], abs=5e-7)
    assert found["rmsce"] == pytest.approx(expected["rmsce"], abs=2e-7)  # torchmetrics reckons it in float32
    assert shares.sum() == pytest.approx(1)


def test_the_temperature_of_the_fixtures():
    assert fit_temperature(FIVE, FIVE_LABELS).temperature == pytest.approx(1.6767966, abs=5e-8)
    found = fit_temperature(LOGITS, LABELS)
    assert found.temperature == pytest.approx(2.5317966, abs=5e-8)
    assert 1 / found.temperature == pytest.approx(0.39497642, abs=5e-8)  # netcal's weight
    assert (found.at_bound, found.single_class, found.few_rows, found.warnings) == (None, False, False, ())
    assert found.improved


class Given:
    """A classifier whose decision function is its input."""

    def __init__(self, classes):
        self.classes_ = np.arange(classes)
        self._estimator_type = "classifier"

    def fit(self, logits, labels):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        return Tags("classifier", TargetTags(required=True), ClassifierTags(), input_tags=InputTags())

    def get_params(self, deep=True):
        return {"classes": len(self.classes_)}

    def decision_function(self, logits):
        return logits

    def predict(self, logits):
        return np.argmax(logits, axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_scikit_learn_finds_the_same_temperature(seed):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1 + 2 * seed, (400, 3 + seed))
    labels = np.where(random.random(400) < 0.6, logits.argmax(axis=1), random.integers(0, 3 + seed, 400))
    oracle = CalibratedClassifierCV(FrozenEstimator(Given(3 + seed)), method="temperature").fit(logits, labels)
    expected = 1 / oracle.calibrated_classifiers_[0].calibrators[0].beta_
    assert fit_temperature(logits, labels).temperature == pytest.approx(expected, rel=1e-6)


@few
@given(classified())
def test_scikit_learn_gives_the_same_scores(rows):
    logits, labels = rows
    answers, classes = logits.argmax(axis=1), np.arange(logits.shape[1])
    assert accuracy(logits, labels) == pytest.approx(metrics.accuracy_score(labels, answers))
    assert macro_f1(logits, labels) == pytest.approx(metrics.f1_score(labels, answers, average="macro"))
    assert confusion(logits, labels).tolist() == metrics.confusion_matrix(labels, answers, labels=classes).tolist()
    if len({*labels, *answers}) == 1:  # scikit-learn warns of a single label
        assert mcc(logits, labels) == 0
    else:
        assert mcc(logits, labels) == pytest.approx(metrics.matthews_corrcoef(labels, answers), abs=1e-12)


@few
@given(classified(), temperatures)
def test_scikit_learn_gives_the_same_losses(rows, temperature):
    logits, labels = rows
    probs, classes = probabilities(logits, temperature), np.arange(logits.shape[1])
    onehot = np.eye(len(classes))[labels]
    assert brier(logits, labels, temperature) == pytest.approx(((probs - onehot) ** 2).sum(axis=1).mean())
    if probs.min() > 1e-10:  # scikit-learn clips probabilities
        assert nll(logits, labels, temperature) == pytest.approx(metrics.log_loss(labels, probs, labels=classes))


def binned_by_hand(beliefs, truths, bins):
    """Go through the bins (lo, hi] one by one, as Guo et al. do."""
    total = 0.0
    edges = np.linspace(0, 1, bins + 1)
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (beliefs > low) & (beliefs <= high) | ((place == 0) & (beliefs == 0))
        if inside.any():
            total += inside.mean() * abs(beliefs[inside].mean() - truths[inside].mean())
    return total


@few
@given(classified(), temperatures, st.integers(1, 20))
def test_errors_by_hand(rows, temperature, bins):
    logits, labels = rows
    probs = probabilities(logits, temperature)
    confidences, hits = probs.max(axis=1), logits.argmax(axis=1) == labels
    found = [measure(*rows, temperature, bins=bins) for measure in (ece, adaptive_ece, classwise_ece)]
    assert found[0] == pytest.approx(binned_by_hand(confidences, hits, bins), abs=1e-12)
    parts = np.array_split(np.argsort(confidences, kind="stable"), bins)
    gaps = [abs(confidences[part].mean() - hits[part].mean()) * len(part) for part in parts if len(part)]
    assert found[1] == pytest.approx(sum(gaps) / len(labels), abs=1e-12)
    own = [binned_by_hand(probs[:, place], labels == place, bins) for place in range(probs.shape[1])]
    assert found[2] == pytest.approx(np.mean(own), abs=1e-12)
    assert all(0 <= value <= 1 for value in found)


def test_an_edge_belongs_to_the_bin_below_it():
    """Two classes of equal logits have the confidence 1/2: with two bins, (0, 1/2] holds it."""
    assert reliability([[0, 0], [0, 40]], [0, 1], bins=2) == [(0.5, 1, 1), (1, 1, 1)]
    assert reliability([[0, 0], [0, 0.1]], [0, 1], bins=2)[1].rows == 1


def test_one_bin_is_the_gap_between_mean_confidence_and_accuracy():
    expected = abs(probabilities(LOGITS).max(axis=1).mean() - 0.638)
    assert ece(LOGITS, LABELS, bins=1) == pytest.approx(expected)
    assert adaptive_ece(LOGITS, LABELS, bins=1) == pytest.approx(expected)


@few
@given(classified(), st.floats(1e-8, 1e8))
def test_hits_never_depend_on_temperature(rows, temperature):
    logits, labels = rows
    at_one, elsewhere = figures(logits, labels), figures(logits, labels, temperature)
    for name in ("accuracy", "macro_f1", "mcc"):
        assert at_one[name] == elsewhere[name]
    hits = [(found.accuracy * found.rows) for found in reliability(logits, labels, temperature)]
    assert sum(hits) == pytest.approx(at_one["accuracy"] * len(labels))


@few
@given(classified(), temperatures)
def test_only_the_quotient_of_logits_and_temperature_matters(rows, temperature):
    logits, labels = rows
    assert figures(logits / 4, labels, temperature) == pytest.approx(figures(logits, labels, 4 * temperature))


@few
@given(classified(), temperatures, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_the_level_of_logits_do_not_matter(rows, temperature, random):
    logits, labels = rows
    order = list(range(len(labels)))
    random.shuffle(order)
    for measure in (nll, brier, classwise_ece):
        shuffled = measure(logits[order] + 7, labels[order], temperature)
        assert shuffled == pytest.approx(measure(logits, labels, temperature), abs=1e-9)


@pytest.mark.parametrize(
    ("temperature", "gradient"),
    [
        (0.5, [-0.05448915271680, 0.04675980837839, 0.00772934433840]),
        (2, [-0.04983122429096, 0.03042890062778, 0.01940232366317]),
    ],
)
def test_the_gradient_by_the_logits_is_the_probabilities_less_the_label_over_temperature(temperature, gradient):
    by_formula = (probabilities(FIVE, temperature) - np.eye(3)[FIVE_LABELS]) / temperature / len(FIVE)
    assert by_formula[0] == pytest.approx(gradient, abs=1e-14)
    for row, place in np.ndindex(FIVE.shape):
        nudge = np.zeros_like(FIVE)
        nudge[row, place] = 1e-5
        rise = nll(FIVE + nudge, FIVE_LABELS, temperature) - nll(FIVE - nudge, FIVE_LABELS, temperature)
        assert rise / 2e-5 == pytest.approx(by_formula[row, place], abs=1e-9)


def test_a_higher_temperature_shrinks_the_gradient_unless_the_softmax_is_saturated():
    def mean_norm(logits, labels, temperature):
        onehot = np.eye(logits.shape[1])[labels]
        return np.linalg.norm((probabilities(logits, temperature) - onehot) / temperature, axis=1).mean()

    norms = [mean_norm(FIVE, FIVE_LABELS, temperature) for temperature in (0.5, 1, 2, 3)]
    assert norms == pytest.approx([1.0232, 0.6144, 0.3541, 0.2476], abs=1e-4)
    saturated, hits = np.array([[30.0, 0.0, 0.0]]), np.array([0])
    assert mean_norm(saturated, hits, 5) > 1e6 * mean_norm(saturated, hits, 1)


@pytest.mark.parametrize(("temperature", "gap"), [(1, 3.8286), (2, 7.6573)])
def test_the_best_logits_under_smoothing_grow_with_temperature_and_their_softmax_does_not(temperature, gap):
    """Five classes, ε = 0.1; ln((1 - ε + ε/5) / (ε/5)) = ln 46."""
    best = minimize(
        lambda logits: nll([logits], [0], temperature, label_smoothing=0.1), np.zeros(5), tol=1e-12, method="BFGS",
        options={"gtol": 1e-9},
    ).x  # fmt: skip
    assert best[0] - best[1:] == pytest.approx(temperature * math.log(46), abs=1e-4)
    assert best[0] - best[1] == pytest.approx(gap, abs=2e-4)
    assert probabilities([best], temperature)[0] == pytest.approx([0.92, 0.02, 0.02, 0.02, 0.02], abs=1e-6)


@few
@given(classified(least=2))
def test_no_temperature_on_a_grid_is_better_than_the_fitted_one(rows):
    found = fit_temperature(*rows)
    assert 0.05 <= found.temperature <= 20
    assert found.nll_after == nll(*rows, found.temperature)
    assert found.nll_after <= found.nll_before == nll(*rows)
    if not found.single_class and found.at_bound != "low":
        grid = min(nll(*rows, temperature) for temperature in np.geomspace(0.05, 20, 60))
        assert found.nll_after <= grid * (1 + 1e-9) + 1e-12


def test_the_loss_is_convex_in_the_inverse_of_the_temperature():
    betas = np.linspace(0.05, 5, 200)
    losses = np.array([nll(LOGITS, LABELS, 1 / beta) for beta in betas])
    assert np.all(np.diff(losses, 2) > -1e-12)


def test_rows_that_are_all_told_right_leave_the_temperature_at_one():
    logits = 3 * np.eye(4)[np.arange(400) % 4]
    found = fit_temperature(logits, np.arange(400) % 4)
    assert (found.temperature, found.at_bound, found.improved) == (1.0, "low", False)
    assert len(found.warnings) == 1
    assert "told right" in found.warnings[0]


def test_logits_that_say_nothing_drive_the_temperature_to_its_upper_end():
    logits = np.eye(4)[np.arange(400) % 4]
    found = fit_temperature(logits, (np.arange(400) + 1 + np.arange(400) // 4 % 3) % 4)
    assert (found.temperature, found.at_bound) == (20, "high")
    assert "chance" in found.warnings[0]


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (LOGITS[:300], np.zeros(300, int), ["one label"]),
        (np.zeros((300, 3)), np.arange(300) % 3, ["no temperature improves"]),
        (LOGITS[:199], LABELS[:199], []),
        (np.zeros((2, 2)), [0, 0], ["one label"]),
    ],
)
def test_what_should_be_known_of_a_fit(logits, labels, words):
    found = fit_temperature(logits, labels)
    assert len(found.warnings) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found.warnings, strict=True))
    assert found.few_rows == (len(labels) < 200)
    if words:
        assert found.temperature == 1
        assert found.nll_after == found.nll_before
        assert not found.improved


def test_extreme_logits_and_temperatures_neither_overflow_nor_lose_the_loss():
    assert nll([[1e30, 0]], [0], 1e-30) == 0
    assert nll([[1000, 0]], [1], 1e-3) == pytest.approx(1e6)
    assert nll([[1000, 0]], [1], 1e300) == pytest.approx(math.log(2))
    assert nll([[1e308, -1e308]], [1], 0.05) == math.inf
    assert brier([[1e308, -1e308]], [1], 0.05) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nll([1, 2], [0]), "classes"),
        (lambda: nll([[1], [2]], [0, 0]), "at least 2 classes"),
        (lambda: nll(np.zeros((0, 2)), []), "classes"),
        (lambda: nll([[1, math.nan]], [0]), "finite"),
        (lambda: nll([[1, 2]], [2]), "places among 2 classes"),
        (lambda: nll([[1, 2]], [-1]), "places among 2 classes"),
        (lambda: nll([[1, 2]], [0.0]), "integers"),
        (lambda: nll([[1, 2]], [0, 1]), "1 integers"),
        (lambda: brier([[1, 2]], [0], 0), "temperature"),
        (lambda: brier([[1, 2]], [0], math.inf), "temperature"),
        (lambda: nll([[1, 2]], [0], label_smoothing=1), "label_smoothing"),
        (lambda: ece([[1, 2]], [0], bins=0), "at least 1"),
        (lambda: adaptive_ece([[1, 2]], [0], bins=0), "at least 1"),
    ],
)
def test_what_cannot_be_answered_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
