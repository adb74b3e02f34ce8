"""POST /generate answered whole: the contract's words, and that every field does what it says."""

import threading

import pytest

from samplers.logprobs import TokenLogprobs
from samplers.params import SamplingParams
from server.api.schemas.answers import GenerateAnswer
from tests.fakes import EOS, START, FakeBackend, says, wait_until


def generate(client, **body):
    response = client.post("/generate", json={"prompt": "hello"} | body)
    assert response.status_code == 200, response.text
    return response.json()


def refused(client, status=400, **body):
    response = client.post("/generate", json={"prompt": "hello"} | body)
    assert response.status_code == status, response.text
    return response.json()["error"]


def texts(answer):
    return [choice["text"] for choice in answer["choices"]]


def test_an_answer_has_the_contracts_shape(serve):
    client = serve(FakeBackend(script=says("Hi é")))
    answer = generate(client, seed=7, n=2)
    assert GenerateAnswer.model_validate(answer)
    assert answer["id"].startswith("gen-")
    assert (answer["model"], answer["framework"], answer["device"]) == ("fake", "fake", "cpu")
    assert answer["choices"] == [
        {
            "index": index,
            "prompt_index": 0,
            "text": "Hi é",
            "token_ids": [*"Hi é".encode(), EOS],
            "finish_reason": "stop",
        }
        for index in range(2)
    ]
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17}
    assert answer["sampling"]["seed"] == 7
    assert set(answer["timings"]) == {"queue_s", "prefill_s", "decode_s"}


def test_the_same_seed_draws_the_same_and_another_seed_does_not(client):
    first = generate(client, seed=5, n=3)
    assert texts(generate(client, seed=5, n=3)) == texts(first)
    assert texts(generate(client, seed=6, n=3)) != texts(first)
    assert len(set(texts(first))) == 3


def test_a_seed_that_was_drawn_is_told_and_can_be_asked_for_again(client):
    first, second = generate(client), generate(client, seed=None)
    assert first["sampling"]["seed"] != second["sampling"]["seed"]
    assert first["sampling"]["sources"]["seed"] == second["sampling"]["sources"]["seed"] == "drawn"
    assert texts(generate(client, seed=first["sampling"]["seed"])) == texts(first)


def test_prompts_are_answered_in_order_prompt_by_prompt_and_sample_by_sample(client):
    prompts = ["one", "two", "three"]
    answer = generate(client, prompt=prompts, n=2, seed=1, max_tokens=3)
    assert [(c["index"], c["prompt_index"]) for c in answer["choices"]] == [(i, i // 2) for i in range(6)]
    alone = [text for prompt in prompts for text in texts(generate(client, prompt=prompt, n=2, seed=1, max_tokens=3))]
    assert texts(answer) == alone
    assert answer["usage"] == {"prompt_tokens": 11, "completion_tokens": 18, "total_tokens": 29}


def test_a_prompt_may_be_token_ids(client):
    assert texts(generate(client, prompt=[*b"hello"], seed=1)) == texts(generate(client, prompt="hello", seed=1))


def test_names_of_special_tokens_are_text_unless_asked_for(serve):
    backend = FakeBackend()
    client = serve(backend)
    as_text = generate(client, prompt="<|start|>")
    assert as_text["usage"]["prompt_tokens"] == len("<|start|>")
    as_token = generate(client, prompt="<|start|>", special_tokens=True, seed=1)
    assert as_token["usage"]["prompt_tokens"] == 1
    assert texts(as_token) == texts(generate(client, prompt=[START], seed=1))


def test_every_sampling_field_is_resolved_and_its_source_told(client):
    given = {"temperature": 2, "top_p": 1.0, "logit_bias": {"65": -1.5}, "stop": ["zzz"], "repetition_penalty": 1}
    sampling = generate(client, **given)["sampling"]
    assert set(sampling["resolved"]) == set(sampling["sources"])
    assert {name for name, source in sampling["sources"].items() if source == "request"} == set(given)
    assert {name: sampling["resolved"][name] for name in given} == given
    assert sampling["resolved"]["seed"] == sampling["seed"]
    assert sampling["resolved"]["timeout_s"] == 30.0
    assert sampling["resolved"]["max_tokens"] == 128
    assert sampling["order"] == sampling["resolved"]["order"] == "hf"
    assert not {"prompt", "model", "stream"} & set(sampling["resolved"])


def test_the_parameters_reach_the_backend_as_they_were_given(serve):
    seen = []

    def script(prompt_ids, params, sample):
        seen.append(params)
        return [EOS]

    body = {
        "temperature": 0.25, "top_k": 3, "top_p": 0.5, "min_p": 0.125, "seed": 2**63 - 1, "max_tokens": 9,
        "min_tokens": 2, "stop_token_ids": [65, 257], "ignore_eos": True, "logprobs": 4,
        "logprobs_mode": "processed", "logit_bias": {"0": 100, "257": -100.0},
    }  # fmt: skip
    generate(serve(FakeBackend(script=script)), **body)
    expected = body | {"stop_token_ids": (65, 257), "logit_bias": {0: 100, 257: -100.0}}
    assert {name: getattr(seen[0], name) for name in body} == expected


@pytest.mark.parametrize(("kinds", "expected"), [(["bitwise"], "bitwise"), (["noise"], "noise")])
def test_reproducible_is_what_the_backend_says(serve, kinds, expected):
    client = serve(FakeBackend(reproducible=kinds[0]))
    assert generate(client, prompt=["a", "b"])["sampling"]["reproducible"] == expected


def test_a_stop_text_ends_a_sample_across_tokens(serve):
    client = serve(FakeBackend(script=says("one\ntwo\n\nthree")))
    answer = generate(client, stop=["\n\n", "never"])
    [choice] = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("one\ntwo", "stop")
    assert choice["token_ids"] == [*b"one\ntwo\n\n"]
    assert answer["usage"]["completion_tokens"] == 9
    assert texts(generate(client, stop=["\n\n"], include_stop=True)) == ["one\ntwo\n\n"]


def test_a_stop_text_stops_the_decoding_of_its_sample_alone(serve):
    backend = FakeBackend(gated=True, script=lambda prompt, params, sample: [*b"a!"] if sample else [*b"ab"])
    client = serve(backend)
    answered = threading.Event()

    def decode_slowly():
        while not answered.wait(0.005):
            backend.allow()

    thread = threading.Thread(target=decode_slowly)
    thread.start()
    answer = generate(client, stop=["!"], n=3, max_tokens=30)
    answered.set()
    thread.join()
    assert texts(answer) == ["a" + "b" * 29, "a", "a"]
    rows = [len(call[1]) for call in backend.calls if call[0] == "decode"]
    assert rows[:2] == [3, 3]
    assert rows[-20:] == [1] * 20


def test_stop_tokens_are_tokens_but_no_text_unless_kept(serve):
    client = serve(FakeBackend(script=says("Hi!!")))
    for include_stop, text in ((False, "Hi"), (True, "Hi!")):
        [choice] = generate(client, stop_token_ids=[33], include_stop=include_stop)["choices"]
        assert (choice["text"], choice["token_ids"], choice["finish_reason"]) == (text, [72, 105, 33], "stop")
    assert texts(generate(client, include_stop=True)) == ["Hi!!<|end|>"]
    assert texts(generate(client, ignore_eos=True, max_tokens=6)) == ["Hi!!"]


def test_log_probabilities_have_the_contracts_shape(client):
    [choice] = generate(client, logprobs=2, max_tokens=3)["choices"]
    assert choice["logprobs"] == {
        "token_logprobs": [-0.5] * 3,
        "top": [{"ids": [0, 1], "logprobs": [0.0, -1.0]}] * 3,
        "entropy": [1.25] * 3,
        "kept": [7] * 3,
    }
    [choice] = generate(client, logprobs=0, max_tokens=1)["choices"]
    assert choice["logprobs"]["top"] == [{"ids": [], "logprobs": []}]
    assert "logprobs" not in generate(client)["choices"][0]


def test_what_cannot_be_drawn_is_left_out_of_the_top_and_never_breaks_the_json(serve, monkeypatch):
    inf = float("inf")
    monkeypatch.setattr(
        "tests.fakes._Running.logprobs", lambda self: TokenLogprobs(-inf, (5, 6), (0.0, -inf), float("nan"), 1)
    )
    [choice] = generate(serve(FakeBackend()), logprobs=2, max_tokens=1)["choices"]
    assert choice["logprobs"] == {
        "token_logprobs": [None],
        "top": [{"ids": [5], "logprobs": [0.0]}],
        "entropy": [None],
        "kept": [1],
    }


def test_a_model_is_chosen_by_name_and_the_first_is_the_default(serve):
    client = serve(small=FakeBackend(script=says("s")), large=FakeBackend(script=says("l")))
    assert [generate(client, model=name)["model"] for name in (None, "large", "small")] == ["small", "large", "small"]
    error = refused(client, 404, model="medium")
    assert error["param"] == "model"
    assert "small, large" in error["message"]
    assert "medium" not in error["message"]


def test_a_time_limit_ends_a_sample_with_what_it_has(serve):
    backend = FakeBackend(gated=True)
    client = serve(backend)
    backend.allow(2)
    timer = threading.Timer(0.2, backend.allow, [5])
    timer.start()
    [choice] = generate(client, timeout_s=0.1, max_tokens=50)["choices"]
    timer.join()
    assert choice["finish_reason"] == "timeout"
    assert 2 <= len(choice["token_ids"]) <= 3


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
        ({"order": "vllm"}, "order"),
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
    ("field", "neutral", "other"),
    [
        ("typical_p", 1, 0.5),
        ("top_n_sigma", 0, 1.0),
        ("epsilon_cutoff", 0.0, 1e-4),
        ("eta_cutoff", 0, 1e-4),
        ("xtc_probability", 0, 0.5),
        ("xtc_threshold", 0.1, 0.2),
        ("dynamic_temperature", None, {"min": 0.5, "max": 1.5, "exponent": 1.0}),
        ("repetition_penalty", 1.0, 1.1),
        ("presence_penalty", 0, 0.1),
        ("frequency_penalty", 0, -0.1),
        ("no_repeat_ngram_size", 0, 3),
        ("dry_multiplier", 0, 0.8),
        ("dry_base", 1.75, 2),
        ("dry_allowed_length", 2, 3),
        ("allowed_token_ids", None, [1, 2]),
        ("bad_words", [], ["x"]),
    ],
)
def test_what_is_not_supported_yet_is_refused_and_never_ignored(client, field, neutral, other):
    assert generate(client, **{field: neutral})["sampling"]["resolved"][field] == neutral
    error = refused(client, **{field: other})
    assert error["param"] == field
    assert "does not support it yet" in error["message"]


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


def test_a_long_prompt_is_encoded_away_from_the_event_loop(serve):
    client = serve(FakeBackend(max_length=20_000, prefill_chunk=20_000))
    assert generate(client, prompt="a" * 10_000, max_tokens=1)["usage"]["prompt_tokens"] == 10_000
