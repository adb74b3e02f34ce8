"""Time the engine without HTTP, under the load of `http_load.py`: the same prompts, the same clients, no server.

    python benchmarks/engine_load.py [--model smollm2] [--clients 1 8 32] [--by-turns]

Loads the model in this process and waits for its compiled step. Prints JSON: a list of tokens a second at each number
of clients, prefills included; by turns one for every line on standard input, until it ends. Last come the seconds that
the backend alone takes for the prefill and the first step of one client's prompts. `http_load.py` runs it by turns with
the server and says how much of these rates arrives over HTTP.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time

from http_load import FIELDS, NEW_TOKENS, prompt, requests_of

from samplers.params import SamplingParams
from server.app import load_models
from server.backends.base import PromptPiece
from server.settings import load_settings


def main() -> None:
    """Measure, and print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--by-turns", action="store_true", help="measure once for every line on standard input")
    arguments = parser.parse_args()
    model = load_models(load_settings(models=[arguments.model]))[arguments.model]
    if not model.backend.wait_until_compiled():
        raise SystemExit("the step could not be compiled; see the log")
    for _ in sys.stdin if arguments.by_turns else [""]:
        print(json.dumps([asyncio.run(tokens_per_s(model, clients)) for clients in arguments.clients]), flush=True)
    model.engine.stop()  # from here on the backend is this thread's
    firsts = [first_token_s(model, prompt(0, index)) for index in range(requests_of(1))]
    model.close()
    print(statistics.median(firsts))


async def tokens_per_s(model, clients) -> float:
    """Let clients send requests at once, one after another each; what came before is not counted."""
    await asyncio.gather(*(drain(model, prompt(-1, client), client, 8) for client in range(clients)))

    async def client(index):
        for i in range(requests_of(clients)):
            await drain(model, prompt(index, i), 1000 * index + i, NEW_TOKENS)

    start = time.perf_counter()
    await asyncio.gather(*map(client, range(clients)))
    return round(clients * requests_of(clients) * NEW_TOKENS / (time.perf_counter() - start), 1)


async def drain(model, text, seed, max_tokens) -> None:
    """Read a request's tokens to their end."""
    params = SamplingParams(seed=seed, max_tokens=max_tokens, ignore_eos=True, **FIELDS)
    async for _ in model.engine.submit(model.tokenizer.encode(text), params):
        pass


def first_token_s(model, text) -> float:
    """Time the backend alone: one prompt's prefill, and the step that draws its first token."""
    backend, token_ids = model.backend, model.tokenizer.encode(text)
    start = time.perf_counter()
    for at in range(0, len(token_ids) - 1, backend.prefill_chunk):
        backend.prefill([PromptPiece(0, token_ids[at : min(at + backend.prefill_chunk, len(token_ids) - 1)], at)])
    backend.admit(0, token_ids, SamplingParams(seed=1, **FIELDS))
    backend.decode([0])
    seconds = time.perf_counter() - start
    backend.release(0)
    return seconds


if __name__ == "__main__":
    main()
