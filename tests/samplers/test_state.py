"""SamplingState: neutral rows, the translation of parameters, rows picked."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from samplers.noise import row_key
from samplers.params import SamplingParams
from samplers.state import SamplingState, neutral_state, state_row
from tests.samplers.conftest import TORCH, random_logits, rows_of

INT32 = {"top_k", "key0", "key1", "step", "min_tokens", "stop_ids"}


def row_of(params, *, eos=(), num_eos=1, sample_index=0):
    like = neutral_state(1, 50, num_eos)
    return state_row(params, prompt_ids=[4, 5], sample_index=sample_index, eos_token_ids=eos, like=like)


def test_neutral_rows_are_the_translation_of_default_parameters():
    neutral, row = neutral_state(3, 50, 1), row_of(SamplingParams())
    for field in fields(SamplingState):
        if field.name not in ("key0", "key1"):
            assert np.array_equal(getattr(neutral, field.name)[2], getattr(row, field.name)), field.name


def test_neutral_rows_draw_and_leave_every_distance(xp):
    logits = random_logits(3, 50)
    assert np.array_equal(xp.distance(logits, neutral_state(3, 50, 1)), logits.max(axis=1, keepdims=True) - logits)
    assert xp.sample(logits, neutral_state(3, 50, 1)).finite.all()


@pytest.mark.parametrize("num_eos", [0, 1, 3])
def test_shapes_and_types_are_the_same_whatever_is_asked(num_eos):
    eos = range(num_eos)
    neutral = neutral_state(2, 50, num_eos)
    rows = [SamplingParams(), SamplingParams(top_k=9, logit_bias={1: 1}, stop_token_ids=tuple(range(5, 37)))]
    for params in rows:
        row = row_of(params, eos=eos, num_eos=num_eos)
        for field in fields(SamplingState):
            array, value = getattr(neutral, field.name), getattr(row, field.name)
            assert value.dtype == array.dtype == (np.int32 if field.name in INT32 else np.float32)
            assert value.shape == array.shape[1:]


def test_every_parameter_reaches_its_array():
    params = SamplingParams(
        temperature=0.25, top_k=7, top_p=0.5, min_p=0.125, min_tokens=3, seed=2**63 - 1,
        logit_bias={0: 100, 49: -0.5}, stop_token_ids=(9, 8),
    )  # fmt: skip
    row = row_of(params, eos=(2,), sample_index=5)
    assert (row.temperature, row.top_k, row.top_p, row.min_p) == (0.25, 7, 0.5, 0.125)
    assert (row.min_tokens, row.step) == (3, 0)
    assert (int(row.key0), int(row.key1)) == row_key(2**63 - 1, [4, 5], 5)
    assert set(row.stop_ids) == {2, 8, 9}
    assert {int(i): float(row.bias[i]) for i in np.flatnonzero(row.bias)} == {0: 100.0, 49: -0.5}


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(0, 0.0), (0.0, 0.0), (1e-45, 2.0**-126), (5e-324, 2.0**-126), (0.1, np.float32(0.1)), (1e308, 2.0**127)],
)
def test_temperatures_are_those_that_float32_can_divide_by(temperature, expected):
    assert row_of(SamplingParams(temperature=temperature)).temperature == expected


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
    assert state.take(slice(1, 2)).top_k.tolist() == [1]


def test_rows_can_be_picked_without_their_wide_array():
    state = rows_of([SamplingParams(top_k=k) for k in range(5)], 8)
    picked = state.take(np.array([4, 1]), bias=False)
    assert picked.top_k.tolist() == [4, 1]
    assert picked.bias.size == 0
