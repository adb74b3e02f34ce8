"""What every driver of `peers.py` does: the same prompts, and the time of the first tokens and of all.

Standard library alone, since each driver runs in an environment of its own. A driver makes a function that generates so
many tokens for each of some prompts, and says how; this times it and prints a line of JSON.
"""

import argparse
import json
import time

TEMPERATURE, TOP_K, TOP_P = 0.8, 50, 0.95


def arguments_of(description, *options) -> argparse.Namespace:
    """Read a driver's command line: the model's file or folder, the sizes, and options of the driver's own."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompt-length", type=int, default=22)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    for name, default in options:
        parser.add_argument(name, default=default)
    return parser.parse_args()


def prompts_of(count, length) -> list[list[int]]:
    """Return prompts of which no two begin alike, in ids that every vocabulary of 10,000 words has."""
    return [
        [300 + (7919 * row + 104729 * place + row * place) % 9000 for place in range(length)] for row in range(count)
    ]


def measure(generate, arguments, **described) -> None:
    """Time a driver and print what came of it.

    Args:
        generate: of prompts and a number of new tokens, which every row must draw, past any end of sequence.
        arguments: of `arguments_of`.
        described: what the line says of the engine beside its times.
    """
    times = []
    for count in arguments.rows:
        prompts = prompts_of(count, arguments.prompt_length)
        generate(prompts, 4)
        first_s = min(timed(lambda prompts=prompts: generate(prompts, 1)) for _ in range(3))  # it is subtracted
        all_s = timed(lambda prompts=prompts: generate(prompts, arguments.new_tokens + 1))
        times.append({"rows": count, "first_s": first_s, "all_s": all_s})
    print(json.dumps(described | {"times": times}))


def timed(run) -> float:
    """Return the seconds that a call takes."""
    started_s = time.perf_counter()
    run()
    return time.perf_counter() - started_s
