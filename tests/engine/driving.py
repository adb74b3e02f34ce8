"""Driving an engine from a test: one event loop a scenario, one thread an engine."""

import asyncio
import hashlib
from contextlib import contextmanager

from samplers.params import SamplingParams
from server.engine.engine import Engine


@contextmanager
def running(backend, **options):
    engine = Engine(backend, **options)
    engine.start()
    try:
        yield engine
    finally:
        if backend.gated:
            backend.allow(1000)
        engine.stop()


async def collect(stream):
    """Return [(token_ids, finish_reason)] of every sample."""
    tokens, reasons = {}, {}
    async for event in stream:
        tokens.setdefault(event.sample, []).extend(event.token_ids)
        if event.finish_reason is not None:
            reasons[event.sample] = event.finish_reason
    return [(tokens[sample], reasons[sample]) for sample in sorted(reasons)]


def generate(engine, *requests):
    """Submit (prompt, params, n) at once and return what each gave, an error where it failed."""

    async def scenario():
        streams = [engine.submit(prompt, params, n=n) for prompt, params, n in requests]
        return await asyncio.gather(*map(collect, streams), return_exceptions=True)

    return asyncio.run(scenario())


def expected(prompt, params, sample):
    noise = hashlib.shake_128(repr((tuple(prompt), params.seed, sample)).encode()).digest(params.max_tokens)
    return [32 + byte % 95 for byte in noise]


def params_of(max_tokens=4, **values):
    return SamplingParams(max_tokens=max_tokens, **values)
