"""POST /tokenize and POST /detokenize."""

import pytest

from tests.fakes import EOS, START, FakeBackend


def test_a_text_becomes_its_tokens_and_what_they_show_as(client):
    response = client.post("/tokenize", json={"text": "aé"})
    assert response.json() == {"tokens": [97, 195, 169], "texts": ["a", "\ufffd", "\ufffd"], "count": 3}
    assert client.post("/tokenize", json={"text": ""}).json() == {"tokens": [], "texts": [], "count": 0}


def test_names_of_special_tokens_are_text_unless_asked_for(client):
    assert client.post("/tokenize", json={"text": "<|end|>"}).json()["tokens"] == [*b"<|end|>"]
    answer = client.post("/tokenize", json={"text": "a<|end|><|start|>", "special_tokens": True}).json()
    assert answer == {"tokens": [97, EOS, START], "texts": ["a", "<|end|>", "<|start|>"], "count": 3}


@pytest.mark.parametrize("text", ["", "aé🦊", "a\0b", "long " * 1800])
def test_tokens_become_their_text_again(client, text):
    tokens = client.post("/tokenize", json={"text": text}).json()["tokens"]
    assert client.post("/detokenize", json={"tokens": tokens}).json() == {"text": text}


@pytest.mark.parametrize("tokens", [[258], [-1], [2**63], [True], ["1"], "abc", None, [1.0]])
def test_an_id_that_is_none_of_the_models_is_refused(client, tokens):
    response = client.post("/detokenize", json={"tokens": tokens})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tokens"


def test_the_model_is_chosen_by_name(serve):
    client = serve(one=FakeBackend(), two=FakeBackend())
    for path, body in (("/tokenize", {"text": "a"}), ("/detokenize", {"tokens": [97]})):
        assert client.post(path, json=body | {"model": "two"}).is_success
        assert client.post(path, json=body | {"model": "three"}).status_code == 404
