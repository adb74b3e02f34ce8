"""POST /generate answered whole: the contract's words, and that every field does what it says."""

import threading

import pytest

from samplers.logprobs import TokenLogprobs
from server.api.schemas.answers import GenerateAnswer
from tests.fakes import EOS, START, FakeBackend, says
from tests.server.asking import generate, refused, texts


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


def test_a_long_prompt_is_encoded_away_from_the_event_loop(serve):
    client = serve(FakeBackend(max_length=20_000, prefill_chunk=20_000))
    assert generate(client, prompt="a" * 10_000, max_tokens=1)["usage"]["prompt_tokens"] == 10_000
