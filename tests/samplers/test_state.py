"""SamplingState: neutral rows, the translation of parameters, rows picked, rows moved on."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from samplers.noise import row_key
from samplers.params import DynamicTemperature, SamplingParams
from samplers.row import arrays_to_write, state_row
from samplers.state import SamplingState, advance, neutral_state
from tests.samplers.conftest import TORCH, random_logits, rows_of

EVERYTHING = SamplingParams(
    temperature=0.25, top_n_sigma=1.5, top_k=7, top_p=0.5, min_p=0.125, typical_p=0.75, epsilon_cutoff=0.25,
    eta_cutoff=0.0625, xtc_probability=0.5, xtc_threshold=0.125, repetition_penalty=1.25, presence_penalty=-0.5,
    frequency_penalty=0.75, no_repeat_ngram_size=3, dry_multiplier=2.0, dry_base=1.5, dry_allowed_length=4,
    logit_bias={0: 100, 49: -0.5}, allowed_token_ids=(0, 2, 49), bad_words=((3,), (4, 5)), min_tokens=3,
    stop_token_ids=(9, 8), seed=2**63 - 1,
)  # fmt: skip


def row_of(params, *, eos=(), num_eos=1, sample_index=0, generated=()):
    like = neutral_state(1, 50, num_eos, 16)
    given = {"prompt_ids": [4, 5], "generated_ids": generated, "eos_token_ids": eos, "like": like}
    return state_row(params, sample_index=sample_index, **given)


def test_neutral_rows_are_the_translation_of_default_parameters():
    neutral, row = neutral_state(3, 50, 1, 16), row_of(SamplingParams(xtc_threshold=0.0))
    for field in fields(SamplingState):
        if field.name not in ("key0", "key1"):
            assert np.array_equal(getattr(neutral, field.name)[2], getattr(row, field.name)[0]), field.name


def test_neutral_rows_draw_and_leave_every_distance(xp):
    logits, state = random_logits(3, 50), neutral_state(3, 50, 1, 16)
    assert np.array_equal(xp.distance(logits, state), logits.max(axis=1, keepdims=True) - logits)
    assert xp.sample(logits, state).finite.all()


@pytest.mark.parametrize("num_eos", [0, 1, 3])
def test_shapes_and_types_are_the_same_whatever_is_asked(num_eos):
    neutral = neutral_state(2, 50, num_eos, 16)
    many = SamplingParams(min_tokens=1, stop_token_ids=tuple(range(5, 37)), logit_bias=dict.fromkeys(range(50), 1.0))
    for params in (SamplingParams(), EVERYTHING, many):
        row = row_of(params, eos=range(num_eos), num_eos=num_eos)
        for field in fields(SamplingState):
            array, value = getattr(neutral, field.name), getattr(row, field.name)
            assert value.dtype == array.dtype
            assert value.dtype in (np.int32, np.float32, np.bool_)
            assert value.shape == (1, *array.shape[1:])


def test_what_a_slots_last_sample_asked_for_is_written_over_once():
    plain, everything, processing = SamplingParams(), [field.name for field in fields(SamplingState)], set()
    few = arrays_to_write(0, plain, processing)
    assert len(few) < len(everything) // 1.5
    assert sorted(arrays_to_write(0, EVERYTHING, processing)) == sorted(everything)
    assert arrays_to_write(1, plain, processing) == few
    assert sorted(arrays_to_write(0, plain, processing)) == sorted(everything)
    assert arrays_to_write(0, plain, processing) == few


def test_every_parameter_reaches_its_array():
    row = row_of(EVERYTHING, eos=(2,), sample_index=5, generated=(5, 6))
    narrow = ("temperature", "top_n_sigma", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
              "xtc_probability", "xtc_threshold", "repetition_penalty", "presence_penalty", "frequency_penalty",
              "no_repeat_ngram_size", "dry_multiplier", "dry_base", "dry_allowed_length", "min_tokens")  # fmt: skip
    for name in narrow:
        assert getattr(row, name)[0] == getattr(EVERYTHING, name), name
    assert (int(row.key0[0]), int(row.key1[0])) == row_key(2**63 - 1, [4, 5], 5)
    assert set(row.stop_ids[0]) == {2, 8, 9}
    assert set(zip(row.bias_ids[0].tolist(), row.bias[0].tolist(), strict=True)) == {(0, 100.0), (49, -0.5)}
    assert np.flatnonzero(row.allowed[0]).tolist() == [0, 2, 49]
    assert (int(row.step[0]), int(row.length[0]), row.tokens[0, :4].tolist()) == (2, 4, [4, 5, 5, 6])


@pytest.mark.parametrize(
    ("order", "min_p", "early_min_p", "typical_p", "early_typical_p", "last"),
    [
        ("hf", 0.125, 0.0, 0.75, 1.0, False),
        ("vllm", 0.0, 0.125, 0.75, 1.0, False),
        ("llamacpp", 0.125, 0.0, 1.0, 0.75, True),
    ],
)
def test_the_order_decides_where_min_p_typical_p_and_temperature_stand(
    order, min_p, early_min_p, typical_p, early_typical_p, last
):
    row = row_of(SamplingParams(order=order, min_p=0.125, typical_p=0.75))
    assert (row.min_p[0], row.early_min_p[0]) == (min_p, early_min_p)
    assert (row.typical_p[0], row.early_typical_p[0]) == (typical_p, early_typical_p)
    assert row.temperature_last[0] == last


def test_a_dynamic_temperature_is_its_least_and_what_lies_above():
    row = row_of(SamplingParams(dynamic_temperature=DynamicTemperature(0.5, 1.75, 2.0)))
    assert (row.temperature[0], row.temperature_span[0], row.temperature_exponent[0]) == (0.5, 1.25, 2.0)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(0, 0.0), (0.0, 0.0), (1e-45, 2.0**-126), (5e-324, 2.0**-126), (0.1, np.float32(0.1)), (1e308, 2.0**127)],
)
def test_temperatures_are_those_that_float32_can_divide_by(temperature, expected):
    assert row_of(SamplingParams(temperature=temperature)).temperature[0] == expected


@pytest.mark.parametrize("top_p", [1e-300, 1e-46, 1e-45, 1.0 - 1e-9])
def test_a_top_p_at_the_ends_of_float32_keeps_some_tokens(xp, top_p):
    logits = random_logits(1, 50)
    kept = xp.kept(logits, rows_of([SamplingParams(top_p=top_p)], 50)).sum()
    assert kept == (1 if top_p < 0.5 else 50)


def test_rows_are_picked_in_the_order_given_and_may_repeat():
    state = rows_of([SamplingParams(top_k=k, logit_bias={k: 1.0}) for k in range(5)], 8)
    rows = [3, 0, 3]
    for picked in (state.take(np.array(rows)), TORCH._device(state).take(torch.tensor(rows))):
        for field in fields(SamplingState):
            assert np.array_equal(getattr(picked, field.name), getattr(state, field.name)[rows]), field.name


@pytest.mark.parametrize("options", [{"processes": False}, {"truncates": False}], ids=str)
def test_rows_can_be_picked_without_the_arrays_of_steps_that_are_left_out(xp, options):
    """The empty arrays must not be missed."""
    logits, everyone = random_logits(5, 8), [SamplingParams(seed=seed, temperature=0.7) for seed in range(5)]
    state, rows = rows_of(everyone, 8), np.array([4, 1])
    picked = state.take(rows, **options)
    assert sum(len(getattr(picked, field.name)) == 0 for field in fields(SamplingState)) > 10
    assert picked.temperature.tolist() == [np.float32(0.7)] * 2
    drawn = xp.sample(logits[rows], picked, **options).token_ids
    assert drawn.tolist() == xp.sample(logits, state).token_ids[rows].tolist()


def test_a_row_moved_on_is_the_row_made_of_its_text(xp):
    """Every array alike, so that a sample may be resumed from its text."""
    params = [EVERYTHING, SamplingParams(dry_multiplier=1.0), SamplingParams(frequency_penalty=1.0)]
    state, generated = rows_of(params, 50, prompt=(1, 2, 1)), []
    for token in (2, 1, 2, 1, 1, 1, 7, 2, 1, 2):
        state = xp(advance, state, np.full(3, token, np.int32))
        generated.append(token)
        made = rows_of(params, 50, prompt=(1, 2, 1), generated=generated)
        for field in fields(SamplingState):
            assert np.array_equal(getattr(state, field.name), getattr(made, field.name)), (field.name, generated)
