"""What POST /generate refuses and fails at: by name, with the right status, and nobody else is harmed."""

import pytest

from samplers.params import SamplingParams
from tests.fakes import FakeBackend, wait_until
from tests.server.asking import generate, refused, texts


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": -0.5}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs_mode": "cooked"}, "logprobs_mode"),
        ({"order": "sglang"}, "order"),
        ({"dynamic_temperature": {"min": 1.0}}, "dynamic_temperature"),
        ({"dynamic_temperature": {"min": 2.0, "max": 1.0}}, "dynamic_temperature"),
        ({"dynamic_temperature": {"min": 0.5, "max": 1.0, "exponent": 0}}, "dynamic_temperature"),
        ({"dynamic_temperature": {"min": 0.5, "max": 1.0}, "temperature": 0.7}, "temperature"),
        ({"typical_p": 0}, "typical_p"),
        ({"eta_cutoff": 1}, "eta_cutoff"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"dry_base": 0.9}, "dry_base"),
        ({"allowed_token_ids": []}, "allowed_token_ids"),
        ({"allowed_token_ids": [258]}, "allowed_token_ids"),
        ({"bad_words": [""]}, "bad_words"),
        ({"bad_words": ["x" * 17]}, "bad_words"),
        ({"bad_words": ["x"] * 65}, "bad_words"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 30.5}, "timeout_s"),
        ({"stop": [""]}, "stop"),
        ({"stop": "text"}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": ["x" * 257]}, "stop"),
        ({"stop_token_ids": [258]}, "stop_token_ids"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"stop_token_ids": [1] * 33}, "stop_token_ids"),
        ({"logit_bias": {"258": 0}}, "logit_bias"),
        ({"logit_bias": {"-1": 0}}, "logit_bias"),
        ({"logit_bias": {"1.0": 0}}, "logit_bias"),
        ({"logit_bias": {"01": 0}}, "logit_bias"),
        ({"logit_bias": {"99999999999": 0}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {str(i): 0 for i in range(1025)}}, "logit_bias"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [1, True]}, "prompt"),
        ({"prompt": [1.0]}, "prompt"),
        ({"prompt": [258]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt"),
        ({"prompt": ["a"] * 257}, "prompt"),
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a"] * 9, "n": 2}, "n"),
        ({"prompt": "a" * 256, "max_tokens": 1}, "prompt"),
        ({"prompt": "a" * 252, "max_tokens": 5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "3"}, "max_tokens"),
        ({"max_tokens": 3.0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": False}, "temperature"),
        ({"stream": 1}, "stream"),
        ({"model": 3}, "model"),
        ({"model": "m" * 201}, "model"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(client, body, param):
    error = refused(client, **body)
    assert error["param"] == param
    assert param in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] == ("context_length_exceeded" if "positions" in error["message"] else "invalid_request")


def test_the_bounds_themselves_are_taken(client):
    generate(client, temperature=0, top_p=1e-9, min_p=1, top_k=2**31 - 1, seed=0, logprobs=20)
    generate(client, temperature=1e308, stop=["x" * 256] * 16, stop_token_ids=[257] * 32, timeout_s=30, n=16)
    generate(client, logit_bias={str(i): 0 for i in range(258)}, prompt="a" * 252, max_tokens=4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("typical_p", 0.5),
        ("top_n_sigma", 1.0),
        ("epsilon_cutoff", 1e-4),
        ("eta_cutoff", 1e-4),
        ("xtc_probability", 0.5),
        ("xtc_threshold", 0.2),
        ("dynamic_temperature", {"min": 0.5, "max": 1.5, "exponent": 2.0}),
        ("repetition_penalty", 1.1),
        ("presence_penalty", 0.1),
        ("frequency_penalty", -0.1),
        ("no_repeat_ngram_size", 3),
        ("dry_multiplier", 0.8),
        ("dry_base", 2.0),
        ("dry_allowed_length", 3),
        ("allowed_token_ids", [1, 2]),
        ("bad_words", ["x"]),
        ("order", "vllm"),
    ],
)
def test_every_sampler_of_the_contract_is_taken_and_shown_as_it_was_asked(client, field, value):
    sampling = generate(client, **{field: value})["sampling"]
    assert sampling["resolved"][field] == value
    assert sampling["sources"][field] == "request"


@pytest.mark.parametrize(
    ("field", "nearest"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("top_P", "top_p"),
        ("repetition_penality", "repetition_penalty"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_name(client, field, nearest):
    error = refused(client, **{field: 1})
    assert error["param"] == field
    assert f"did you mean {nearest}?" in error["message"]


def test_an_unknown_field_without_a_neighbour_points_to_the_documentation(client):
    assert "/docs" in refused(client, zzzz=1)["message"]


def test_a_full_queue_is_a_429_that_says_when_to_try_again(serve):
    backend = FakeBackend(num_slots=1, gated=True)
    client = serve(backend, queue_limit=2)
    engine = client.app.state.models["fake"].engine
    client.portal.call(lambda: _hold(engine))
    wait_until(lambda: engine.num_running == 1)
    response = client.post("/generate", json={"prompt": "a", "n": 2})
    assert response.status_code == 429
    assert 1 <= int(response.headers["retry-after"]) <= 120
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert response.json()["error"]["code"] == "queue_full"
    # Of several prompts none stays behind when one is refused.
    assert engine.num_waiting == 1
    assert client.post("/generate", json={"prompt": ["a", "b"]}).status_code == 429
    backend.allow(100)
    wait_until(lambda: engine.num_waiting == engine.num_running == 0)
    assert backend.count("admit") == 2


async def _hold(engine):
    engine.submit([1], SamplingParams(max_tokens=2))
    engine.submit([1], SamplingParams(max_tokens=2))


def test_logits_that_are_not_finite_are_a_500_that_is_not_to_be_tried_again(serve):
    backend = FakeBackend()
    backend.not_finite = lambda prompt_ids, step: prompt_ids == (*b"bad",)
    client = serve(backend)
    response = client.post("/generate", json={"prompt": ["good", "bad", "fine"]})
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["code"] == "numerical_error"
    assert response.json()["error"]["type"] == "server_error"
    wait_until(lambda: client.app.state.models["fake"].engine.num_running == 0)
    assert texts(generate(client, prompt="good", seed=1)) == texts(generate(client, prompt="good", seed=1))


def test_a_failing_backend_is_a_500_without_its_secrets(serve):
    backend = FakeBackend()
    backend.poison = 33
    client = serve(backend)
    response = client.post("/generate", json={"prompt": "!?"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "poison" not in response.text
    generate(client)


@pytest.mark.parametrize(
    ("rule", "param"),
    [
        ({"allowed_token_ids": [256], "min_tokens": 1}, "allowed_token_ids"),
        ({"bad_words": ["a"], "no_repeat_ngram_size": 1}, "bad_words"),
        ({"no_repeat_ngram_size": 1}, "no_repeat_ngram_size"),
    ],
)
def test_rules_that_leave_no_token_are_the_requests_own_fault(serve, rule, param):
    """The sampler finds nothing to draw in a row whose logits are fine; were they not, that would be a 500 still."""
    backend = FakeBackend()
    backend.not_finite = lambda prompt_ids, step: True
    client = serve(backend)
    error = refused(client, **rule)
    assert (error["code"], error["param"]) == ("invalid_request", param)
    assert "no token to draw" in error["message"]
    backend.raw_logits = [float("nan")] * 258
    assert refused(client, 500, **rule)["code"] == "numerical_error"
