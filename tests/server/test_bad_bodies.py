"""Bodies that are wrong: always a 4xx in the one shape, never a word of the input, and the next request is answered."""

import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

ROUTES = ["/generate", "/distribution", "/tokenize", "/detokenize"]
JSON = {"content-type": "application/json"}
FIELDS = [
    "prompt", "model", "max_tokens", "min_tokens", "n", "seed", "stream", "temperature", "top_k", "top_p", "min_p",
    "typical_p", "dynamic_temperature", "repetition_penalty", "logit_bias", "allowed_token_ids", "bad_words", "stop",
    "stop_token_ids", "ignore_eos", "include_stop", "logprobs", "logprobs_mode", "order", "timeout_s",
    "special_tokens", "text", "tokens", "top", "temprature",
]  # fmt: skip


def require_error(response, *statuses):
    assert response.status_code in statuses, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert error["message"]
    assert error["request_id"] == response.headers["x-request-id"]
    return error


def post(client, data, path="/generate", **headers):
    return client.post(path, content=data, headers=JSON | headers)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"null", "object"),
        (b"[]", "object"),
        (b"42", "object"),
        (b'"x"', "object"),
        (b"true", "object"),
        (b'{"prompt": "x"', "not JSON"),
        (b'{"prompt": "x",}', "not JSON"),
        (b"{'prompt': 'x'}", "not JSON"),
        (b'{"prompt": "x"} {}', "not JSON"),
        (b'{"prompt": "x\n"}', "not JSON"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        (b'{"prompt": "\xed\xa0\x80"}', "UTF-8"),
        ('{"prompt": "x"}'.encode("utf-16"), "UTF-8"),
        ('{"prompt": "x"}'.encode("utf-16-le"), "not JSON"),
        (b"\xef\xbb\xbf" + b'{"prompt": "x"}', "byte order mark"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": "x"}', "surrogate"),
        (b'{"prompt": ["a", {"b": "\\udc00\\ud800"}]}', "surrogate"),
        (b'{"prompt": "x", "prompt": "y"}', "prompt is given twice"),
        (b'{"prompt": "x", "logit_bias": {"1": 0, "1": 1}}', "given twice"),
        (b'{"temperature": NaN}', "NaN"),
        (b'{"temperature": Infinity}', "Infinity"),
        (b'{"temperature": -Infinity}', "-Infinity"),
        (b'{"temperature": 1e309}', "finite"),
        (b'{"temperature": -1e999999}', "finite"),
        (b'{"max_tokens": 18446744073709551617}', "64 bits"),
        (b'{"max_tokens": ' + b"9" * 5000 + b"}", "64 bits"),
        (b'{"max_tokens": -' + b"9" * 5000 + b"}", "64 bits"),
        (b'{"a":' * 3000 + b"1" + b"}" * 3000, "nested"),
        (b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}", "nested"),
        (b"[" * 19000, "nested"),
    ],
)
def test_a_body_that_is_no_plain_json_object_is_a_400_that_says_why(client, path, data, words):
    error = require_error(post(client, data, path), 400)
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


def test_escapes_that_are_whole_characters_are_taken(client):
    response = post(client, b'{"text": "\\ud83e\\udd8a\\u0000"}', "/tokenize")
    assert response.json()["tokens"] == [*"🦊\0".encode()]


@pytest.mark.parametrize("depth", range(950, 1000, 7))
def test_nesting_is_refused_at_every_depth_whatever_the_parser_makes_of_it(client, depth):
    require_error(post(client, b'{"a":"\\u0041","b":' + b"[" * depth + b"]" * depth + b"}"), 400)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/jsonp"},
        {"content-encoding": "gzip"},
        {"content-encoding": "identity"},
    ],
)
def test_anything_but_plain_json_is_a_415(client, path, headers):
    error = require_error(post(client, b'{"prompt": "x"}', path, **headers), 415)
    assert error["code"] == "unsupported_media_type"


def test_a_content_type_may_name_the_charset(client):
    assert post(client, b'{"text": "x"}', "/tokenize", **{"content-type": "Application/JSON; charset=utf-8"}).is_success


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_beyond_the_limit_is_a_413_and_one_at_the_limit_is_read(client, settings, path):
    limit = settings.max_body_bytes
    at_limit = b'{"unknown_field": "' + b"x" * (limit - 21) + b'"}'
    assert len(at_limit) == limit
    assert require_error(post(client, at_limit, path), 400)["param"] == "unknown_field"
    assert require_error(post(client, at_limit + b" ", path), 413)["code"] == "body_too_large"
    chunks = (b" " * 1000 for _ in range(limit // 1000 + 1))
    require_error(post(client, chunks, path), 413)


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "9" * 30])
def test_a_content_length_that_is_no_number_is_a_400(client, length):
    require_error(post(client, b"{}", **{"content-length": length}), 400)


def test_what_was_sent_never_comes_back(client):
    secret = "hunter2-correct-horse"
    bodies = [
        {"prompt": secret, "temperature": "hot " + secret},
        {"prompt": {secret: secret}},
        {"prompt": "x", "logit_bias": {secret: 1}},
        {"prompt": "x", "logprobs_mode": secret},
        {"prompt": "x", "model": secret},
        {"prompt": "x", secret: 1},
        {"prompt": "x", "stop": [secret * 20]},
        {"prompt": "x", "bad_words": [secret]},
    ]
    for body in bodies:
        response = client.post("/generate", json=body)
        require_error(response, 400, 404)
        assert secret not in response.text


def test_many_wrong_items_cost_one_short_answer(client):
    for field in ("prompt", "stop_token_ids", "stop", "bad_words"):
        response = client.post("/generate", json={"prompt": "x"} | {field: [0.5] * 4000})
        require_error(response, 400)
        assert len(response.content) < 500
    require_error(client.post("/detokenize", json={"tokens": ["x"] * 4000}), 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/generate/", 404),
        ("POST", "http://testserver//generate", 404),  # with a host: else the client takes `generate` for one
        ("GET", "/%00", 404),
        ("GET", "/generate", 405),
        ("DELETE", "/generate", 405),
        ("OPTIONS", "/generate", 405),
        ("POST", "/health/live", 405),
        ("BREW", "/generate", 405),
    ],
)
def test_routes_and_methods_that_are_not_there_have_the_same_shape(client, method, path, status):
    response = client.request(method, path)
    require_error(response, status)
    if status == 405:
        assert response.headers["allow"]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.integers(-2, 300)
    | st.floats()
    | st.sampled_from(["", "a", "1", "raw", "hf", "NaN", "\ud800", "\0", "é"])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["0", "65", "min", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), values, max_size=6)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)
@given(path=st.sampled_from(ROUTES), body=objects, prompt=st.sampled_from([{}, {"prompt": "a"}, {"text": "a"}]))
def test_no_json_object_makes_the_server_fail(client, path, body, prompt):
    response = post(client, json.dumps(body | prompt).encode(), path)
    if response.status_code != 200:
        require_error(response, 400, 404)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    path=st.sampled_from(ROUTES),
    data=st.binary(max_size=60) | st.text('{}[]",:\\u0d8e-+.1 ', max_size=40).map(str.encode),
)
def test_no_bytes_make_the_server_fail(client, path, data):
    require_error(post(client, data, path), 400)


def test_the_next_request_is_answered(client):
    post(client, b'{"temperature": NaN}')
    assert client.post("/generate", json={"prompt": "x", "max_tokens": 1}).is_success
