"""Time samples that share a prompt's prefill and batch against requests that do not.

    python -P benchmarks/compare.py [--model smollm2] [--samples 32] [--prompt-tokens 512] [--tokens 64]

Two arms, temperatures 0.7 and 1.2, of one prompt: once as a comparison samples them, every token measured, and once as
that many requests of the same parameters, sent at once, none knowing of the others. Then the samples of one arm alone,
as one request and as many. All take turns; medians. Prints a table and writes `benchmarks/results/compare.json`. Run it
on a quiet machine.
"""

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from samplers.params import SamplingParams
from server.api.completion import Stopping
from server.app import load_models
from server.comparison.sampling import Sampling, Writer
from server.settings import load_settings

ROUNDS = 3
ARMS = 0.7, 1.2  # temperatures
RESULTS = Path(__file__).parent / "results" / "compare.json"


def main() -> None:
    """Measure both ways and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    model = load_models(load_settings().model_copy(update={"models": [arguments.model]}))[arguments.model]
    if not model.backend.wait_until_compiled():
        raise SystemExit("the step could not be compiled; see the log")
    result = asyncio.run(measure(model, arguments))
    model.close()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    show(result, arguments)


async def measure(model, arguments):
    """Return the median seconds of every way."""
    text = "The river ran past the old house and nobody knew how long it had been there. " * arguments.prompt_tokens
    prompt = model.tokenizer.decode(model.tokenizer.encode(text)[: arguments.prompt_tokens])
    ways = {
        "a comparison": lambda: compare(model, prompt, arguments, measures=True),
        "a comparison, nothing measured": lambda: compare(model, prompt, arguments, measures=False),
        "separate requests": lambda: separately(model, prompt, arguments, ARMS),
        "one arm: n of one request": lambda: together(model, prompt, arguments, ARMS[0]),
        "one arm: separate requests": lambda: separately(model, prompt, arguments, ARMS[:1]),
    }
    seconds = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started_s = time.perf_counter()
            await way()
            seconds[name].append(time.perf_counter() - started_s)
    return {name: statistics.median(values) for name, values in seconds.items()}


async def compare(model, prompt, arguments, *, measures):
    """Sample both arms as a comparison does."""
    writers = [Writer(f"at {t}", model, params_of(t, arguments, measures), Stopping()) for t in ARMS]
    written = await Sampling(writers, arguments.samples).write(0, prompt)
    assert len(written.completions) == 2 * arguments.samples


async def together(model, prompt, arguments, temperature):
    """Send one request for all samples of an arm."""
    params = params_of(temperature, arguments, measures=False)
    await drain(model.engine.submit(model.tokenizer.encode(prompt), params, n=arguments.samples))


async def separately(model, prompt, arguments, temperatures):
    """Send every sample as a request of its own."""
    token_ids = model.tokenizer.encode(prompt)
    streams = [
        model.engine.submit(token_ids, params_of(temperature, arguments, measures=False), first_sample=sample)
        for sample in range(arguments.samples)
        for temperature in temperatures
    ]
    await asyncio.gather(*map(drain, streams))


async def drain(stream):
    """Read a stream to its end."""
    async for _ in stream:
        pass


def params_of(temperature, arguments, measures):
    """Return an arm's parameters; no sample ends early."""
    return SamplingParams(
        temperature=temperature, seed=1, max_tokens=arguments.tokens, ignore_eos=True, measures=measures
    )


def show(result, arguments):
    """Print the table."""
    title = (
        f"{arguments.model}: 2 arms x {arguments.samples} samples of {arguments.tokens} tokens after "
        f"{arguments.prompt_tokens}"
    )
    table = Table("way", "seconds", "times as fast", title=title)
    for name, seconds in result.items():
        arm = "one arm: " if name.startswith("one arm: ") else ""
        table.add_row(name, f"{seconds:.2f}", f"{result[arm + 'separate requests'] / seconds:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
