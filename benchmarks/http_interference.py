"""Time what long prompts do to the streams that run: the gaps between their tokens, and how long the prompts wait.

    python benchmarks/http_interference.py [--streams 8] [--prompt-tokens 2000] [--prompts 5] [--url http://host:port]

Starts a server of its own unless a URL is given, as `http_load.py` does. Streams run alone at first; then prompts
arrive, each as soon as the one before has got its 16 tokens. Prints the gaps between the streams' tokens before and
meanwhile, and the time to the first token of the prompts, alone and beside the streams; writes
`benchmarks/results/interference.json`. Server and clients share the machine, so run it on a quiet one.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import time
from pathlib import Path

from http_load import percentiles, serving, stream, wait_until_settled

ALONE_S = 5.0
RESULTS = Path(__file__).parent / "results" / "interference.json"


def main() -> None:
    """Measure, and print a line for each phase."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=2000)
    parser.add_argument("--prompts", type=int, default=5)
    parser.add_argument("--url", help="of a server that runs already")
    arguments = parser.parse_args()
    with serving(arguments) as url:
        wait_until_settled(url)
        report = asyncio.run(measure(url, arguments))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    for phase in ("alone", "beside prompts"):
        gaps = report[phase]
        print(f"{arguments.streams} streams {phase}: {gaps['p50']} / {gaps['p99']} ms between tokens, p50 / p99")
    print(
        f"p99 beside prompts by p50, of the same time and alone: {report['p99_by_p50']}, {report['p99_by_p50_alone']}"
    )
    print(f"longest gap beside prompts: {report['longest_ms']} ms")
    for phase in ("alone", "beside streams"):
        firsts = report["first_token_s"][phase]
        print(f"first token of {arguments.prompt_tokens} tokens {phase}: {firsts} s")


async def measure(url, arguments) -> dict:
    """Run the streams alone, then beside prompts."""
    alone = [(await stream(url, tokens(arguments, i), i, 1))["first_s"] for i in (1001, 1002)]
    times = [[] for _ in range(arguments.streams)]
    running = [
        asyncio.create_task(stream(url, f"{i} rivers and", i, 1900, times=times[i])) for i in range(arguments.streams)
    ]
    while not all(times):
        await asyncio.sleep(0.05)
    began_s = time.perf_counter()
    await asyncio.sleep(ALONE_S)
    arrived_s = time.perf_counter()
    beside = [(await stream(url, tokens(arguments, i), i, 16))["first_s"] for i in range(arguments.prompts)]
    firsts = {"alone": alone, "beside streams": beside}
    ended_s = time.perf_counter()
    if any(task.done() for task in running):
        raise SystemExit("a stream ended before the prompts had; ask for fewer prompts")
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    before = percentiles(gaps_between(times, began_s, arrived_s))
    gaps = gaps_between(times, arrived_s, ended_s)
    meanwhile = percentiles(gaps)
    return {
        "alone": before,
        "beside prompts": meanwhile,
        "p99_by_p50": round(meanwhile["p99"] / meanwhile["p50"], 2),
        "p99_by_p50_alone": round(meanwhile["p99"] / before["p50"], 2),
        "longest_ms": round(max(gaps) * 1e3, 1),
        "first_token_s": {phase: round(statistics.median(each), 2) for phase, each in firsts.items()},
    }


def tokens(arguments, index) -> list[int]:
    """Make up a prompt of so many tokens, another for each index."""
    return random.Random(index).choices(range(1000, 40_000), k=arguments.prompt_tokens)


def gaps_between(times, first_s, last_s) -> list[float]:
    """Return the gaps between the tokens of each stream that ended within a time."""
    return [after - before for own in times for before, after in itertools.pairwise(own) if first_s <= after < last_s]


if __name__ == "__main__":
    main()
