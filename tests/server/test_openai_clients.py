"""OpenAI's own client and LangChain's, over real HTTP: what they ask, read and raise."""

import asyncio
import threading

import openai
import pytest
from langchain_openai import ChatOpenAI
from starlette.testclient import TestClient

from server.app import create_app
from server.settings import Settings
from tests.conftest import loaded
from tests.fakes import FakeBackend, says, wait_until
from tests.server.asking import texts
from tests.server.live import serving

TURNS = [{"role": "user", "content": "hello"}]


@pytest.fixture
def live(settings):
    """Serve a fake that says something; gives the address."""
    backend = FakeBackend(script=says("Hi é 🦊"))
    with serving(settings, lambda settings: {"fake": loaded(backend)}) as address:
        yield address


@pytest.fixture
def client(live):
    with openai.OpenAI(base_url=f"{live}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_chat_whole_and_streamed(client):
    answer = client.chat.completions.create(
        model="fake", messages=TURNS, n=2, seed=3, logprobs=True, top_logprobs=1, extra_body={"min_p": 0.05}
    )
    assert [choice.message.content for choice in answer.choices] == ["Hi é 🦊"] * 2
    assert answer.choices[0].finish_reason == "stop"
    assert len(answer.choices[0].logprobs.content) == answer.usage.completion_tokens // 2
    assert answer.sampling["resolved"]["min_p"] == 0.05
    *parts, last = client.chat.completions.create(
        model="fake", messages=TURNS, stream=True, stream_options={"include_usage": True}
    )
    assert "".join(part.choices[0].delta.content for part in parts) == "Hi é 🦊"
    assert parts[0].choices[0].delta.role == "assistant"
    assert last.usage.completion_tokens == 11


def test_a_helper_of_the_client_puts_a_stream_together(client):
    with client.chat.completions.stream(model="fake", messages=TURNS) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == "Hi é 🦊"


def test_texts_whole_and_streamed(client):
    answer = client.completions.create(model="fake", prompt=["a", "b"], logprobs=2, stop=["🦊"])
    assert [choice.text for choice in answer.choices] == ["Hi é "] * 2
    assert answer.choices[0].logprobs.text_offset[:3] == [0, 1, 2]
    parts = client.completions.create(model="fake", prompt="a", stream=True)
    assert "".join(part.choices[0].text for part in parts) == "Hi é 🦊"


def test_models(client):
    assert [model.id for model in client.models.list()] == ["fake"]
    assert client.models.retrieve("fake").owned_by == "kelvin"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_errors_have_their_classes(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="other", messages=TURNS)
    assert (missing.value.param, missing.value.code, missing.value.type) == ("model", "not_found", "not_found_error")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="fake", messages=TURNS, temperature=-1)
    assert (wrong.value.param, wrong.value.type) == ("temperature", "invalid_request_error")
    assert wrong.value.request_id == wrong.value.body["request_id"]
    with pytest.raises(openai.BadRequestError, match="tools is not supported"):
        client.chat.completions.create(model="fake", messages=TURNS, tools=[{"type": "function", "function": {}}])


def test_a_failure_within_a_stream_is_raised(settings):
    backend = FakeBackend()
    backend.not_finite = lambda prompt_ids, step: step == 2
    with (
        serving(settings, lambda settings: {"fake": loaded(backend)}) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client,
        pytest.raises(openai.APIError, match="not finite"),
    ):
        list(client.chat.completions.create(model="fake", messages=TURNS, stream=True))


def test_a_full_queue_is_a_rate_limit_and_is_tried_again(settings):
    backend = FakeBackend(num_slots=1, gated=True)
    models = {}

    def load(settings):
        models["fake"] = loaded(backend, queue_limit=1)
        return models

    def ask(client):
        client.completions.create(model="fake", prompt="a", max_tokens=2)

    with (
        serving(settings, load) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        engine = models["fake"].engine
        threads = []
        for num_running, num_waiting in ((1, 0), (1, 1)):
            threads.append(threading.Thread(target=ask, args=[client]))
            threads[-1].start()
            wait_until(lambda: (engine.num_running, engine.num_waiting) == (num_running, num_waiting))  # noqa: B023
        with pytest.raises(openai.RateLimitError) as full:
            ask(client)
        assert (full.value.code, full.value.type) == ("queue_full", "rate_limit_error")
        threading.Timer(0.2, backend.allow, [50]).start()
        patient = client.with_options(max_retries=2)
        retried = patient.completions.with_raw_response.create(model="fake", prompt="a", max_tokens=2)
        assert retried.retries_taken >= 1
        assert retried.parse().usage.completion_tokens == 2
        for thread in threads:
            thread.join()


def test_the_asynchronous_client(live):
    async def talk():
        async with openai.AsyncOpenAI(base_url=f"{live}/v1", api_key="none") as client:
            whole = await client.chat.completions.create(model="fake", messages=TURNS)
            parts = await client.chat.completions.create(model="fake", messages=TURNS, stream=True)
            return whole.choices[0].message.content, "".join([part.choices[0].delta.content async for part in parts])

    assert asyncio.run(talk()) == ("Hi é 🦊", "Hi é 🦊")


def test_langchain(live):
    model = ChatOpenAI(base_url=f"{live}/v1", api_key="none", model="fake", temperature=0.5, seed=1)
    assert model.invoke("hello").content == "Hi é 🦊"
    assert "".join(chunk.content for chunk in model.stream("hello")) == "Hi é 🦊"


@pytest.mark.model
def test_the_built_in_model_talks(tmp_path):
    """Its tokens are those that transformers makes of the same conversation, and it ends its turn."""
    from transformers import PreTrainedTokenizerFast

    settings = Settings(models=["smollm2"], compile=False, slots=2, max_length=256, data_dir=tmp_path)
    turns = [{"role": "user", "content": "Name a colour."}]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(settings.models_dir / "smollm2")
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    sampled = {"temperature": 0.7, "seed": 7, "max_tokens": 16}
    with TestClient(create_app(settings)) as client:
        wait_until(lambda: client.get("/health/ready").status_code == 200, timeout_s=120)
        answer = client.post("/v1/chat/completions", json={"messages": turns} | sampled).json()
        native = client.post("/generate", json={"prompt": prompt} | sampled).json()
    assert answer["usage"] == native["usage"]
    assert [choice["message"]["content"] for choice in answer["choices"]] == texts(native)
    assert answer["choices"][0]["finish_reason"] == "stop"
