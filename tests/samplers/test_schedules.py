"""Schedules and learning rates: cases by hand, exact ends, and laws."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers.calibration import probabilities
from samplers.learning_rates import coupled_rate, rate_factor
from samplers.schedules import share_of, temperature_at

NAMES = ["constant", "linear", "cosine", "exponential", "step"]
laws = settings(deadline=None, max_examples=50)  # a busy machine is no fault
temperatures = st.floats(1e-3, 1e3)
shares = st.floats(0, 1)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [2, 2, 2, 2, 2]),
        ("linear", [2, 1.625, 1.25, 0.875, 0.5]),
        ("cosine", [2, 1.25 + 0.75 * math.sqrt(0.5), 1.25, 1.25 - 0.75 * math.sqrt(0.5), 0.5]),
        ("exponential", [2, math.sqrt(2), 1, math.sqrt(0.5), 0.5]),
        ("step", [2, 2, 1.25, 0.5, 0.5]),
    ],
)
def test_from_2_to_a_half(schedule, expected):
    found = [temperature_at(schedule, place / 4, start=2.0, end=0.5, steps=3) for place in range(5)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("share", "expected"), [(0, 3), (0.1, 3), (0.2, 3), (0.35, 2), (0.5, 4), (0.75, 3), (1, 2)])
def test_piecewise(share, expected):
    """Flat to 0.2, down to 1 at 0.5, where it jumps to 4, and down to 2."""
    points = ((0.2, 3.0), (0.5, 1.0), (0.5, 4.0), (1.0, 2.0))
    assert temperature_at("piecewise", share, start=1.0, end=1.0, points=points) == pytest.approx(expected)


def test_one_point_is_constant():
    assert [temperature_at("piecewise", s, start=9.0, end=9.0, points=[(0.5, 2.0)]) for s in (0, 0.5, 1)] == [2, 2, 2]


@laws
@given(st.sampled_from(NAMES), temperatures, temperatures, st.integers(2, 50))
def test_the_ends_are_exact(schedule, start, end, steps):
    given = {"start": start, "end": end, "steps": steps}
    assert temperature_at(schedule, 0.0, **given) == start
    assert temperature_at(schedule, 1.0, **given) == (start if schedule == "constant" else end)


@laws
@given(st.sampled_from(NAMES), temperatures, temperatures, st.integers(2, 50), shares, shares)
def test_a_schedule_stays_within_its_ends_and_never_turns_back(schedule, start, end, steps, first, second):
    first, second = sorted((first, second))
    values = [start, *(temperature_at(schedule, s, start=start, end=end, steps=steps) for s in (first, second)), end]
    assert all(min(start, end) <= value <= max(start, end) for value in values)
    rising = [value if end >= start else -value for value in values]
    assert all(later >= earlier * (1 - math.copysign(1e-12, earlier)) for earlier, later in pairwise(rising))


@laws
@given(st.sampled_from(NAMES), temperatures, shares)
def test_equal_ends_are_constant(schedule, temperature, share):
    assert temperature_at(schedule, share, start=temperature, end=temperature, steps=4) == temperature


@laws
@given(st.integers(2, 40), st.integers(1, 20))
def test_each_level_has_an_equal_share_of_the_epochs(steps, each):
    """In a training of steps · each + 1 epochs, the last epoch ends the last level."""
    count = steps * each + 1
    levels = [
        temperature_at("step", share_of(place, count), start=1.0, end=float(steps), steps=steps)
        for place in range(count)
    ]
    expected = [1.0 + place // each for place in range(count - 1)]
    assert levels == pytest.approx([*expected, steps])


def test_shares():
    assert [share_of(place, 5) for place in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert share_of(0, 1) == 0


def test_an_anneal_sharpens_what_is_served_by_the_quotient_of_its_ends():
    logits = [[0.3, -0.2, 1.1]]
    start, end = (temperature_at("linear", share, start=2.0, end=0.5) for share in (0.0, 1.0))
    assert probabilities(logits, end) == pytest.approx(probabilities([[4 * z for z in logits[0]]], start))


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("none", [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1]),
        ("linear", [1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("cosine", [1 / 3, 2 / 3, 1, *((1 + math.cos(math.pi * u / 6)) / 2 for u in range(1, 6))]),
    ],
)
def test_warm_up_over_a_quarter_of_8_steps(decay, expected):
    assert [rate_factor(step, 8, warmup=0.25, decay=decay) for step in range(8)] == pytest.approx(expected)


def test_the_share_of_warm_up_is_not_rounded_up_by_a_rounding_error():
    """0.1 · 30 is a little more than 3."""
    assert [rate_factor(step, 30, warmup=0.1) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1])


@laws
@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True), st.sampled_from(["none", "linear", "cosine"]))
def test_rates_rise_then_fall_and_are_never_zero(steps, warmup, decay):
    factors = [rate_factor(step, steps, warmup=warmup, decay=decay) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


@pytest.mark.parametrize(
    ("coupling", "expected"),
    [
        ("none", [2e-3] * 6),
        ("inverse_square", [5e-4, 1.9602e-3, 2e-3, 4.4402e-3, 4.5e-3, 8e-3]),
        ("bands", [1e-4, 1e-4, 5e-4, 5e-4, 1e-3, 1e-3]),
    ],
)
def test_couplings(coupling, expected):
    found = [coupled_rate(2e-3, temperature, coupling) for temperature in (0.5, 0.99, 1, 1.49, 1.5, 2)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: temperature_at("warm", 0.0, start=1, end=1), "no such schedule"),
        (lambda: temperature_at("linear", 1.01, start=1, end=1), "share"),
        (lambda: temperature_at("linear", math.nan, start=1, end=1), "share"),
        (lambda: temperature_at("cosine", 0.5, start=0, end=1), "above 0"),
        (lambda: temperature_at("exponential", 0.5, start=1, end=math.inf), "above 0"),
        (lambda: temperature_at("step", 0.5, start=1, end=2, steps=1), "at least 2"),
        (lambda: temperature_at("piecewise", 0.5, start=1, end=2), "at least one"),
        (lambda: temperature_at("piecewise", 0.5, start=1, end=2, points=[(0.6, 1), (0.5, 1)]), "by share"),
        (lambda: temperature_at("piecewise", 0.5, start=1, end=2, points=[(0.6, -1)]), "above 0"),
        (lambda: share_of(3, 3), "from 0 to 2"),
        (lambda: rate_factor(3, 3), "from 0 to 2"),
        (lambda: rate_factor(0, 3, warmup=1), "warmup"),
        (lambda: rate_factor(0, 3, decay="step"), "no such decay"),
        (lambda: coupled_rate(0.1, 1.0, "square"), "no such coupling"),
        (lambda: coupled_rate(0.0, 1.0), "above 0"),
        (lambda: coupled_rate(0.1, 0.0), "above 0"),
    ],
)
def test_what_makes_no_schedule_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
