"""POST /distribution: what is listed and what is summed up are together the whole distribution."""

import itertools
import math

import numpy as np
import pytest

from server.api.distribution import describe_distribution
from server.api.schemas.answers import DistributionAnswer
from tests.fakes import VOCAB_SIZE, ByteTokenizer, FakeBackend


def distribution(client, **body):
    response = client.post("/distribution", json={"prompt": "hello"} | body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 3, VOCAB_SIZE).astype(np.float32).tolist()


@pytest.fixture
def client(serve, logits):
    backend = FakeBackend()
    backend.raw_logits = logits
    return serve(backend)


def test_the_highest_logits_come_first_with_their_texts(client, logits):
    answer = distribution(client, top=5)
    assert DistributionAnswer.model_validate(answer)
    best = sorted(range(VOCAB_SIZE), key=lambda token_id: -logits[token_id])[:5]
    assert answer["tokens"] == [
        {"id": token_id, "text": ByteTokenizer().token_text(token_id), "logit": logits[token_id]} for token_id in best
    ]


def test_among_equals_the_lower_id_comes_first():
    answer = describe_distribution([1.0, 2.0, 1.0, 2.0, 0.0], 4, ByteTokenizer())
    assert [token["id"] for token in answer["tokens"]] == [1, 3, 0, 2]
    answer = describe_distribution([float(token_id % 2) for token_id in range(256)], 256, ByteTokenizer())
    assert [token["id"] for token in answer["tokens"]] == [*range(1, 256, 2), *range(0, 256, 2)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_top_and_tail_together_give_every_probability_back(client, logits, temperature):
    answer = distribution(client, top=200)
    total = math.log(sum(math.exp(logit) for logit in logits))
    listed = math.log(sum(math.exp(token["logit"]) for token in answer["tokens"]))
    tail = answer["tail"]["logsumexp"]
    assert math.isclose(np.logaddexp(listed, tail), total, rel_tol=1e-12)
    # A histogram of 32 bins gives the tail's mass at another temperature to within half a bin's width.
    edges, counts = answer["tail"]["histogram"]["edges"], answer["tail"]["histogram"]["counts"]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    rest = sorted(logits)[: VOCAB_SIZE - 200]
    exact = math.log(sum(math.exp(logit / temperature) for logit in rest))
    guess = math.log(sum(count * math.exp(middle / temperature) for middle, count in zip(middles, counts, strict=True)))
    assert abs(guess - exact) <= (edges[1] - edges[0]) / 2 / temperature


def test_the_tail_is_counted_in_32_equal_bins(client, logits):
    tail = distribution(client, top=58)["tail"]
    edges, counts = tail["histogram"]["edges"], tail["histogram"]["counts"]
    assert (len(edges), len(counts), sum(counts), tail["count"]) == (33, 32, 200, 200)
    rest = sorted(logits)[:200]
    assert (edges[0], edges[-1]) == (rest[0], rest[-1])
    assert np.allclose(np.diff(edges), (rest[-1] - rest[0]) / 32)


def test_an_empty_tail_has_no_numbers(client):
    tail = distribution(client, top=1000)["tail"]
    assert tail == {"count": 0, "logsumexp": None, "histogram": {"edges": [], "counts": []}}


def test_a_tail_of_equal_logits_still_has_bins():
    tail = describe_distribution([5.0, 1.0, 1.0, 1.0], 1, ByteTokenizer())["tail"]
    assert sum(tail["histogram"]["counts"]) == 3
    assert math.isclose(tail["logsumexp"], 1 + math.log(3))


def test_logits_of_any_size_do_not_overflow():
    answer = describe_distribution([3e38, -3e38, 2e38], 1, ByteTokenizer())
    assert answer["tokens"][0]["logit"] == 3e38
    assert answer["tail"]["logsumexp"] == 2e38


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_not_finite_is_a_500_that_is_not_to_be_tried_again(serve, bad):
    backend = FakeBackend()
    backend.raw_logits = [0.0, bad, 1.0]
    response = serve(backend).post("/distribution", json={"prompt": "a"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "numerical_error"
    assert response.headers["x-should-retry"] == "false"


def test_the_prompt_is_a_text_or_token_ids(client):
    assert distribution(client, prompt=[1, 2, 3]) == distribution(client, prompt="abc")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [VOCAB_SIZE]}, "prompt"),
        ({"prompt": "a" * 256}, "prompt"),
        ({"top": 0}, "top"),
        ({"top": 1001}, "top"),
        ({"temperature": 1}, "temperature"),
    ],
)
def test_what_is_refused(client, body, param):
    response = client.post("/distribution", json={"prompt": "a"} | body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
