"""A seed means something: over HTTP, on the built-in model and the default path, the same request is the same text.

Alone, among 15 others in several orders of arrival, and streamed; compared to the last token.
"""

import asyncio
import contextlib
import json
import random

import httpx
import pytest

from server.app import create_app
from server.settings import Settings
from tests.fakes import wait_until

pytestmark = pytest.mark.model

SEEDED = [
    {"prompt": "The lighthouse keeper", "seed": 7, "temperature": 0.8},
    {"prompt": "Once upon a time, in a village by the sea,", "seed": 8, "temperature": 1.3, "top_p": 0.9},
    {"prompt": "List three uses of a rope:\n1.", "seed": 9, "temperature": 1.0, "top_k": 40, "min_p": 0.02, "n": 2},
    {"prompt": "word " * 150, "seed": 10, "temperature": 1.5},
]
LENGTH = {"max_tokens": 48, "ignore_eos": True}


def neighbours(count):
    """Make requests of every kind: short and long, greedy and hot, filtered and not, one sample and several."""
    draw = random.Random(count)
    return [
        {
            "prompt": " ".join(draw.choices(["sea", "stone", "light", "winter", "road"], k=draw.randint(2, 120))),
            "temperature": draw.choice([0.0, 0.5, 1.0, 2.0]),
            "top_p": draw.choice([1.0, 0.8]),
            "top_k": draw.choice([0, 10]),
            "n": draw.choice([1, 1, 2]),
            "max_tokens": draw.randint(5, 60),
            "seed": index,
        }
        for index in range(count)
    ]


def app_of(**settings):
    """Serve the built-in model as `make serve` does, but for some settings."""
    if not (Settings().models_dir / "smollm2").is_dir():
        pytest.skip("the built-in model is not on disk; fetch it with `kelvin models pull smollm2`")
    return create_app(Settings(**settings))


@contextlib.asynccontextmanager
async def client_of(app):
    """Start a server, and return a client and the model's backend."""
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://k") as client:
        await asyncio.to_thread(wait_until, lambda: app.state.models, timeout_s=120)
        yield client, next(iter(app.state.models.values())).backend


async def tokens(client, request, stream=False):
    response = await client.post("/generate", json=request | LENGTH | {"stream": stream}, timeout=300)
    assert response.status_code == 200, response.text
    if not stream:
        answer = response.json()
        assert answer["sampling"]["reproducible"] == "bitwise"
        return [choice["token_ids"] for choice in answer["choices"]]
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    samples = {}
    for choice in (choice for event in events for choice in event.get("choices", [])):
        samples.setdefault(choice["index"], []).extend(choice["token_ids"])
    return [samples[index] for index in sorted(samples)]


async def in_a_crowd(client, request, order):
    """Send the request as number `order` of 16, a few milliseconds apart."""
    crowd = neighbours(15)
    random.Random(order).shuffle(crowd)
    others = []
    for index, neighbour in enumerate(crowd):
        if index == order:
            ours = asyncio.create_task(tokens(client, request))
        others.append(asyncio.create_task(client.post("/generate", json=neighbour, timeout=300)))
        await asyncio.sleep(random.Random(index).random() / 50)
    answers = await asyncio.gather(*others)
    assert all(answer.status_code == 200 for answer in answers)
    return await ours


def test_a_seeded_request_is_the_same_alone_in_a_crowd_and_streamed():
    async def run():
        async with client_of(app_of()) as (client, backend):
            assert await asyncio.to_thread(backend.wait_until_compiled, 300)
            for request in SEEDED:
                alone = await tokens(client, request)
                assert all(len(sample) == LENGTH["max_tokens"] for sample in alone)
                assert await tokens(client, request) == alone
                assert await tokens(client, request, stream=True) == alone
                for order in (0, 7, 14):
                    assert await in_a_crowd(client, request, order) == alone

    asyncio.run(run())


def test_it_is_the_same_with_weights_of_eight_bits():
    async def run():
        async with client_of(app_of(quantization="int8", compile=False)) as (client, backend):
            assert backend.quantization == "int8"
            alone = await tokens(client, SEEDED[1])
            assert await tokens(client, SEEDED[1]) == alone
            assert await in_a_crowd(client, SEEDED[1], 5) == alone

    asyncio.run(run())
