"""SamplingParams: what each field takes, what it refuses, and how it says so."""

import sys
from dataclasses import FrozenInstanceError, fields
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from samplers.checks import SamplingParamsError
from samplers.params import DynamicTemperature, SamplingParams

NAN, INF = float("nan"), float("inf")
WARM = DynamicTemperature(0.5, 1.5)
HUGE, LONG = 10**400, 10**5000  # beyond a double; beyond what Python writes as text
NOT_NUMBERS = [True, False, "1", "", None, [1], {}, 1j, Decimal(1), b"1"]
NOT_INTEGERS = [*NOT_NUMBERS, 1.0, NAN, INF]

ACCEPTED = [
    ("temperature", [0, 0.0, -0.0, 1, 1e-45, 5e-324, 1e-8, 1e8, 1e308, sys.float_info.max, 10**300, np.float64(0.5)]),
    ("top_k", [0, 1, 50, 2**31 - 1]),
    ("top_p", [5e-324, 0.5, 1, 1.0]),
    ("min_p", [0, 0.0, 5e-324, 0.5, 1, 1.0]),
    ("typical_p", [5e-324, 0.5, 1, 1.0]),
    ("top_n_sigma", [0, 1e-45, 1, 10**30]),
    ("epsilon_cutoff", [0, 0.0, 5e-324, 3e-4, 0.999999]),
    ("eta_cutoff", [0, 0.0, 5e-324, 3e-4, 0.999999]),
    ("xtc_probability", [0, 0.5, 1, 1.0]),
    ("xtc_threshold", [0, 0.1, 1, 1.0]),
    ("dynamic_temperature", [None, WARM, DynamicTemperature(0, 1e-300), DynamicTemperature(2, 2.0, exponent=1e-9)]),
    ("repetition_penalty", [1e-3, 1, 1.3, 1000]),
    ("presence_penalty", [-2, -2.0, 0, 1.5, 2]),
    ("frequency_penalty", [-2, -2.0, 0, 1.5, 2]),
    ("no_repeat_ngram_size", [0, 1, 3, 2**31 - 1]),
    ("dry_multiplier", [0, 0.8, 1e30]),
    ("dry_base", [1, 1.75, 1e30]),
    ("dry_allowed_length", [0, 2, 2**31 - 1]),
    ("allowed_token_ids", [None, (0,), (5, 5), tuple(range(10**4)), (2**31 - 1,)]),
    ("bad_words", [(), ((0,),), ((1,) * 16,) * 128]),
    ("order", ["hf", "vllm", "llamacpp"]),
    ("max_tokens", [1, 10**6]),
    ("min_tokens", [0, 1, 128]),
    ("seed", [0, 1, 2**32, 2**63 - 1]),
    ("logprobs", [None, 0, 1, 20]),
    ("logprobs_mode", ["raw", "tempered", "processed"]),
    ("ignore_eos", [True, False]),
    ("stop_token_ids", [(), (0,), (5, 5), tuple(range(32))]),
    ("logit_bias", [{}, {0: 100}, {5: -100.0, 2**31 - 1: 0.0}]),
]
FINITE = "{} must be a finite number {}; it is {}"
INTEGER = "{} must be an integer {}; it is {}"
RANGES = [  # field, its message, its range, values beside it
    ("temperature", FINITE, "at least 0", [-1, -1e-300, NAN, INF, -INF, HUGE, -HUGE, LONG]),
    ("top_p", FINITE, "from 0 to 1", [-0.1, 1.0000001, 2, NAN, INF, -INF, HUGE, LONG]),
    ("min_p", FINITE, "from 0 to 1", [-0.1, 1.0000001, 2, NAN, INF, -INF, -HUGE, LONG]),
    ("typical_p", FINITE, "from 0 to 1", [-0.1, 1.0000001, 2, NAN, INF]),
    ("top_n_sigma", FINITE, "at least 0", [-1e-9, NAN, INF, -INF, HUGE]),
    ("epsilon_cutoff", FINITE, "from 0 to 1", [-0.1, 1.0000001, NAN, INF]),
    ("eta_cutoff", FINITE, "from 0 to 1", [-0.1, 1.0000001, NAN, INF]),
    ("xtc_probability", FINITE, "from 0 to 1", [-0.1, 1.0000001, NAN, INF]),
    ("xtc_threshold", FINITE, "from 0 to 1", [-0.1, 1.0000001, NAN, INF]),
    ("presence_penalty", FINITE, "from -2 to 2", [-2.1, 2.0001, NAN, INF, -INF]),
    ("frequency_penalty", FINITE, "from -2 to 2", [-2.1, 2.0001, NAN, INF, -INF]),
    ("no_repeat_ngram_size", INTEGER, "from 0 to 2147483647", [-1, 2**31, LONG]),
    ("dry_multiplier", FINITE, "at least 0", [-1, NAN, INF]),
    ("dry_base", FINITE, "at least 1", [0.99, 0, -1, NAN, INF]),
    ("dry_allowed_length", INTEGER, "from 0 to 2147483647", [-1, 2**31, LONG]),
    ("top_k", INTEGER, "from 0 to 2147483647", [-1, 2**31, HUGE, LONG, -LONG]),
    ("max_tokens", INTEGER, "from 1 to 2147483647", [0, -1, 2**31, HUGE, -HUGE, -LONG]),
    ("min_tokens", INTEGER, "from 0 to 2147483647", [-1, 2**31, LONG, -LONG]),
    ("seed", INTEGER, "from 0 to 9223372036854775807", [-1, 2**63, 2**64, HUGE, LONG]),
    ("logprobs", INTEGER, "from 0 to 20", [-1, 21, HUGE, LONG]),
]
OUTSIDE = [(field, message, limit, value) for field, message, limit, values in RANGES for value in values]
WRONG_TYPES = [
    (field, message, limit, value)
    for field, message, limit, _ in RANGES
    for value in (NOT_NUMBERS if message is FINITE else NOT_INTEGERS)
    if not (field == "logprobs" and value is None)
]


def shown(value):
    """Numbers are named as they are, as long as they are short; of other things only their type."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return "beyond 64 bits"
    return str(value) if isinstance(value, int | float) or value is None else f"a value of type {type(value).__name__}"


def brief(value):
    long = isinstance(value, int) and abs(value) >= 2**64
    return "long" if long or isinstance(value, dict | tuple) else repr(value)


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in ACCEPTED for v in values], ids=brief)
def test_every_value_of_the_range_is_taken_as_it_is(field, value):
    assert getattr(SamplingParams(**{field: value}), field) == value


@pytest.mark.parametrize(("field", "message", "limit", "value"), OUTSIDE, ids=brief)
def test_a_value_outside_its_range_is_refused_with_field_range_and_value(field, message, limit, value):
    with pytest.raises(SamplingParamsError) as refused:
        SamplingParams(**{field: value})
    assert refused.value.param == field
    assert str(refused.value) == message.format(field, limit, shown(value))


@pytest.mark.parametrize(("field", "message", "limit", "value"), WRONG_TYPES, ids=brief)
def test_a_value_of_another_type_is_refused_likewise(field, message, limit, value):
    with pytest.raises(SamplingParamsError) as refused:
        SamplingParams(**{field: value})
    assert refused.value.param == field
    assert str(refused.value) == message.format(field, limit, shown(value))


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"top_p": 0}, "top_p", ["above 0", "temperature 0"]),
        ({"top_p": 0.0}, "top_p", ["above 0", "temperature 0"]),
        ({"min_tokens": 129}, "min_tokens", ["129", "max_tokens", "128"]),
        ({"min_tokens": 6, "max_tokens": 5}, "min_tokens", ["6", "max_tokens", "5"]),
        ({"typical_p": 0}, "typical_p", ["above 0", "temperature 0"]),
        ({"epsilon_cutoff": 1.0}, "epsilon_cutoff", ["below 1", "temperature 0"]),
        ({"eta_cutoff": 1}, "eta_cutoff", ["below 1", "temperature 0"]),
        ({"order": "sglang"}, "order", ["'hf'", "'vllm'", "'llamacpp'"]),
        ({"order": None}, "order", ["'hf'", "'vllm'", "'llamacpp'"]),
        ({"dynamic_temperature": (0.5, 1.0)}, "dynamic_temperature", ["DynamicTemperature", "type tuple"]),
        ({"dynamic_temperature": WARM, "temperature": 0.7}, "temperature", ["0.7", "dynamic_temperature", "leave out"]),
        ({"dynamic_temperature": WARM, "temperature": 0.0}, "temperature", ["0.0", "dynamic_temperature", "leave out"]),
        ({"allowed_token_ids": ()}, "allowed_token_ids", ["hold an id", "null"]),
        ({"allowed_token_ids": (-1,)}, "allowed_token_ids", ["from 0 to 2147483647", "-1"]),
        ({"allowed_token_ids": [1]}, "allowed_token_ids", ["tuple", "type list"]),
        ({"bad_words": [(1,)]}, "bad_words", ["tuple", "type list"]),
        ({"bad_words": ([1],)}, "bad_words", ["tuple", "type list"]),
        ({"bad_words": ((),)}, "bad_words", ["1 to 16 tokens", "one has 0"]),
        ({"bad_words": ((1,) * 17,)}, "bad_words", ["1 to 16 tokens", "one has 17"]),
        ({"bad_words": ((1,),) * 129}, "bad_words", ["at most 128", "holds 129"]),
        ({"bad_words": ((1, 2**31),)}, "bad_words", ["from 0 to 2147483647", "2147483648"]),
        ({"bad_words": None}, "bad_words", ["tuple", "None"]),
        ({"logprobs_mode": "cooked"}, "logprobs_mode", ["'raw'", "'tempered'", "'processed'"]),
        ({"logprobs_mode": None}, "logprobs_mode", ["'raw'", "'tempered'", "'processed'"]),
        ({"logprobs_mode": ["raw"]}, "logprobs_mode", ["'raw'", "'tempered'", "'processed'"]),
        ({"ignore_eos": 1}, "ignore_eos", ["true or false", "1"]),
        ({"ignore_eos": "false"}, "ignore_eos", ["true or false", "type str"]),
        ({"ignore_eos": None}, "ignore_eos", ["true or false", "None"]),
        ({"stop_token_ids": tuple(range(33))}, "stop_token_ids", ["at most 32", "holds 33"]),
        ({"stop_token_ids": (1, -1)}, "stop_token_ids", ["from 0 to 2147483647", "-1"]),
        ({"stop_token_ids": (2**31,)}, "stop_token_ids", ["from 0 to 2147483647", "2147483648"]),
        ({"stop_token_ids": (LONG,)}, "stop_token_ids", ["from 0 to 2147483647", "beyond 64 bits"]),
        ({"stop_token_ids": (1.0,)}, "stop_token_ids", ["integer", "1.0"]),
        ({"stop_token_ids": ("7",)}, "stop_token_ids", ["integer", "type str"]),
        ({"stop_token_ids": (True,)}, "stop_token_ids", ["integer", "True"]),
        ({"stop_token_ids": "12"}, "stop_token_ids", ["tuple", "type str"]),
        ({"stop_token_ids": 7}, "stop_token_ids", ["tuple", "7"]),
        ({"stop_token_ids": None}, "stop_token_ids", ["tuple", "None"]),
        ({"stop_token_ids": [7]}, "stop_token_ids", ["tuple", "type list"]),
        ({"logit_bias": {-1: 0.0}}, "logit_bias", ["from 0 to 2147483647", "-1"]),
        ({"logit_bias": {99999999999: 0.0}}, "logit_bias", ["from 0 to 2147483647", "99999999999"]),
        ({"logit_bias": {LONG: 0.0}}, "logit_bias", ["from 0 to 2147483647", "beyond 64 bits"]),
        ({"logit_bias": {"1": 0.0}}, "logit_bias", ["integer", "type str"]),
        ({"logit_bias": {1.0: 0.0}}, "logit_bias", ["integer", "1.0"]),
        ({"logit_bias": {True: 0.0}}, "logit_bias", ["integer", "True"]),
        ({"logit_bias": {1: 100.1}}, "logit_bias", ["from -100 to 100", "100.1"]),
        ({"logit_bias": {1: -1e308}}, "logit_bias", ["from -100 to 100", "-1e+308"]),
        ({"logit_bias": {1: NAN}}, "logit_bias", ["from -100 to 100", "nan"]),
        ({"logit_bias": {1: -INF}}, "logit_bias", ["from -100 to 100", "-inf"]),
        ({"logit_bias": {1: HUGE}}, "logit_bias", ["from -100 to 100", "beyond 64 bits"]),
        ({"logit_bias": {1: "a"}}, "logit_bias", ["from -100 to 100", "type str"]),
        ({"logit_bias": {1: True}}, "logit_bias", ["from -100 to 100", "True"]),
        ({"logit_bias": [(1, 0.0)]}, "logit_bias", ["token ids", "type list"]),
        ({"logit_bias": None}, "logit_bias", ["token ids", "None"]),
    ],
    ids=brief,
)
def test_what_is_refused_for_other_reasons(given, field, words):
    with pytest.raises(SamplingParamsError) as refused:
        SamplingParams(**given)
    assert refused.value.param == field
    assert str(refused.value).startswith(field)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((-0.1, 1.0), ["min", "at least 0", "-0.1"]),
        ((NAN, 1.0), ["min", "finite", "nan"]),
        ((0.0, 0.0), ["max", "above 0", "0.0"]),
        ((0.0, INF), ["max", "finite", "inf"]),
        ((1.5, 0.5), ["min", "1.5", "above", "0.5"]),
        ((0.5, 1.5, 0.0), ["exponent", "above 0", "0.0"]),
        ((0.5, 1.5, -1.0), ["exponent", "above 0", "-1.0"]),
        ((0.5, 1.5, HUGE), ["exponent", "finite", "beyond 64 bits"]),
        (("0.5", 1.5), ["min", "finite", "type str"]),
        ((0.5, True), ["max", "finite", "True"]),
    ],
)
def test_a_dynamic_temperature_out_of_its_range_is_refused(values, words):
    with pytest.raises(SamplingParamsError) as refused:
        DynamicTemperature(*values)
    assert refused.value.param == "dynamic_temperature"
    for word in ("dynamic_temperature", *words):
        assert word in str(refused.value)


@pytest.mark.parametrize("value", [0, 0.0, -1, NAN, INF, HUGE, "1", None, True])
def test_a_repetition_penalty_that_is_no_positive_number_is_refused(value):
    with pytest.raises(SamplingParamsError) as refused:
        SamplingParams(repetition_penalty=value)
    assert refused.value.param == "repetition_penalty"
    assert "finite number" in str(refused.value)
    assert shown(value) in str(refused.value)


@pytest.mark.parametrize(
    ("given", "field", "beyond"),
    [
        ({"logit_bias": {99: 1.0, 100: 1.0}}, "logit_bias", 100),
        ({"stop_token_ids": (3, 2**31 - 1)}, "stop_token_ids", 2**31 - 1),
        ({"allowed_token_ids": (3, 100)}, "allowed_token_ids", 100),
        ({"bad_words": ((3,), (4, 100))}, "bad_words", 100),
    ],
)
def test_token_ids_that_a_model_does_not_have_are_refused(given, field, beyond):
    params = SamplingParams(**given)
    params.require_token_ids_below(2**31)
    with pytest.raises(SamplingParamsError) as refused:
        params.require_token_ids_below(100)
    assert refused.value.param == field
    assert str(refused.value) == f"{field} names token {beyond}; this model's token ids are 0 to 99"


def test_parameters_cannot_be_changed_nor_through_what_they_were_made_from():
    bias = {1: 2.0}
    params = SamplingParams(logit_bias=bias)
    bias[2] = 50.0
    assert dict(params.logit_bias) == {1: 2.0}
    with pytest.raises(TypeError):
        params.logit_bias[1] = 3.0
    with pytest.raises(FrozenInstanceError):
        params.temperature = 2.0


@pytest.mark.parametrize(
    ("given", "processes", "truncates"),
    [
        ({}, False, False),
        ({"temperature": 0.3, "seed": 9, "stop_token_ids": (1,), "logprobs": 5, "max_tokens": 1}, False, False),
        ({"logit_bias": {1: 0.0}}, True, False),
        ({"min_tokens": 1}, True, False),
        ({"top_k": 1}, False, True),
        ({"top_p": 0.999}, False, True),
        ({"min_p": 1e-9}, False, True),
        ({"typical_p": 0.999}, False, True),
        ({"top_n_sigma": 1e-9}, False, True),
        ({"epsilon_cutoff": 1e-9}, False, True),
        ({"eta_cutoff": 1e-9}, False, True),
        ({"xtc_probability": 1e-9}, False, True),
        ({"xtc_threshold": 0.3}, False, False),
        ({"dynamic_temperature": WARM}, False, True),
        ({"allowed_token_ids": (1,)}, True, False),
        ({"bad_words": ((1,),)}, True, False),
        ({"repetition_penalty": 0.9}, True, False),
        ({"presence_penalty": -0.1}, True, False),
        ({"frequency_penalty": 0.1}, True, False),
        ({"no_repeat_ngram_size": 9}, True, False),
        ({"dry_multiplier": 0.1}, True, False),
        ({"dry_base": 2.0, "dry_allowed_length": 1}, False, False),
    ],
)
def test_parameters_say_which_steps_they_need(given, processes, truncates):
    params = SamplingParams(**given)
    assert (params.processes, params.truncates) == (processes, truncates)


@pytest.mark.parametrize("name", [field.name for field in fields(SamplingParams)])
def test_every_parameter_of_a_draw_is_on_the_page_of_samplers(name):
    page = (Path(__file__).parents[2] / "docs/samplers.md").read_text(encoding="utf-8")
    assert f"`{name}`" in page or name in ("seed", "max_tokens", "logprobs", "logprobs_mode")


def test_stop_ids_are_the_requests_and_the_models_unless_it_ignores_those():
    assert SamplingParams(stop_token_ids=(5,)).stop_ids([2, 3]) == {2, 3, 5}
    assert SamplingParams(stop_token_ids=(2,), ignore_eos=True).stop_ids([2, 3]) == {2}
    assert SamplingParams(ignore_eos=True).stop_ids([2, 3]) == frozenset()
