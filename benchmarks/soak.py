"""Soak the server: twice what it can do, for ten minutes, with clients that leave, dawdle, sleep and send nonsense.

    python benchmarks/soak.py [--seconds 600] [--overload 2] [--model smollm2]

Starts a server of its own. Measures what it answers a second with as many clients as keep it busy; holds 32 and 200
clients that ask again and again; then sends requests at `overload` times that rate whatever comes back, and looks at
memory, threads, descriptors and slots meanwhile. Fails where a request that was taken is not answered to its end, an
answer is a 5xx, a slot, thread or descriptor is not given back, or memory grows by more than 2 %. `make soak` runs it.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from soaking.client import ask
from soaking.findings import describe_overload, find_wrong, growth, percentiles, show
from soaking.process import Process
from soaking.requests_at_random import behaviour, plain, request, seeded

RESULTS = Path(__file__).parent / "results" / "soak.json"
WARM_UP_S = 120.0


def main() -> None:
    """Soak, show what was found, and fail if anything is wrong."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        process = Process(arguments.model, Path(folder), threads=arguments.threads, compile=arguments.compile)
        try:
            report = asyncio.run(soak(process, arguments))
        finally:
            exit_code = process.stop()
        report["errors_logged"] = [line["event"] for line in process.complaints()]
        report["cut_off"] = process.num_cut_off()
    report["exit_code"] = exit_code
    wrong = find_wrong(report)
    RESULTS.parent.mkdir(exist_ok=True)
    Path(arguments.results).write_text(json.dumps(report | {"wrong": wrong}, indent=1) + "\n")
    show(report | {"wrong": wrong})
    sys.exit("\n".join(wrong) if wrong else 0)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--seconds", type=float, default=600.0, help="of overload")
    parser.add_argument("--hold-seconds", type=float, default=30.0, help="for each number of clients")
    parser.add_argument("--clients", type=int, nargs="+", default=[32, 200])
    parser.add_argument("--overload", type=float, default=2.0, help="times what the server can do")
    parser.add_argument("--tokens", type=int, default=64, help="of a prompt and an answer at most")
    parser.add_argument("--threads", type=int, default=0, help="of the server's framework")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--results", default=RESULTS)
    return parser.parse_args()


async def soak(process, arguments) -> dict:
    """Measure, hold, overload, and wait until all is calm."""
    await process.wait_until_settled()
    held = [await hold(process, clients, arguments) for clients in arguments.clients]
    capacity = await measure_capacity(process, arguments)
    before = process.standing()
    watching = asyncio.create_task(watch(process, arguments.seconds))
    outcomes = await overload(process, arguments.overload * capacity, arguments)
    calm = await settle(process, before)
    return {
        "model": arguments.model,
        "seconds": arguments.seconds,
        "capacity_per_s": round(capacity, 2),
        "offered_per_s": round(arguments.overload * capacity, 2),
        "held": held,
        "overload": describe_overload(outcomes),
        "before": before,
        "after": calm,
        "growth": growth(await watching, min(WARM_UP_S, arguments.seconds / 3)),
    }


async def hold(process, clients, arguments) -> dict:
    """Let so many clients ask again and again for streams of equal length."""
    until_s = time.monotonic() + arguments.hold_seconds
    in_flight = most = 0

    async def client(index):
        nonlocal in_flight, most
        outcomes = []
        while time.monotonic() < until_s:
            in_flight += 1
            most = max(most, in_flight)
            body = plain(seeded(f"{clients} {index} {len(outcomes)}"), tokens=arguments.tokens)
            outcomes.append(await ask(process.port, "/generate", body))
            in_flight -= 1
            if outcomes[-1].retry_after:
                await asyncio.sleep(outcomes[-1].retry_after)
        return outcomes

    started_s = time.monotonic()
    outcomes = [outcome for each in await asyncio.gather(*map(client, range(clients))) for outcome in each]
    seconds = time.monotonic() - started_s
    answered = [outcome for outcome in outcomes if outcome.status == 200]
    return {
        "clients": clients,
        "requests": len(outcomes),
        "held_at_once": most,
        "answered": sum(outcome.whole for outcome in answered),
        "refused": sum(outcome.status == 429 for outcome in outcomes),
        "tokens_per_s": round(sum(outcome.tokens for outcome in answered) / seconds, 1),
        "first_token_s": percentiles([outcome.first_s for outcome in answered if outcome.first_s is not None]),
        "inter_token_s": percentiles([gap for outcome in answered for gap in outcome.gaps]),
    }


async def measure_capacity(process, arguments) -> float:
    """Return how many requests of the kinds that readers send are answered a second; 48 clients ask again and again."""
    until_s, answered = time.monotonic() + arguments.hold_seconds, 0

    async def client(index):
        nonlocal answered
        number = 0
        while time.monotonic() < until_s:
            path, body = request(seeded(f"capacity {index} {number}"), "reads", tokens=arguments.tokens)
            outcome = await ask(process.port, path, body)
            answered += outcome.whole and outcome.status == 200 and time.monotonic() < until_s
            number += 1

    await asyncio.gather(*map(client, range(48)))
    return answered / arguments.hold_seconds


async def overload(process, per_s, arguments) -> list:
    """Send requests at random times at a rate, whatever becomes of them; return what did."""
    started_s, tasks, due_s = time.monotonic(), [], 0.0
    choose = seeded("overload")
    while due_s < arguments.seconds:
        await asyncio.sleep(max(0.0, started_s + due_s - time.monotonic()))
        kind = behaviour(choose)
        path, body = request(choose, kind, tokens=arguments.tokens)
        own = "reads" if kind == "bad" else kind
        tasks.append((kind, asyncio.create_task(ask(process.port, path, body, behaviour=own))))
        due_s += choose.expovariate(per_s)
    return [(kind, await task) for kind, task in tasks]


async def watch(process, seconds) -> list:
    """Look at the process every few seconds; return (seconds since the beginning, bytes of memory)."""
    started_s, seen = time.monotonic(), []
    while (elapsed_s := time.monotonic() - started_s) < seconds:
        seen.append((elapsed_s, process.standing()["rss_bytes"]))
        await asyncio.sleep(min(2.0, seconds / 20))
    return seen


async def settle(process, before) -> dict:
    """Wait until nobody runs or waits and what was taken is given back, or half a minute has gone by."""
    until_s = time.monotonic() + 30
    while True:
        figures, standing = await asyncio.to_thread(process.figures), process.standing()
        left = {
            name: figures[f"kelvin_num_{name}"] for name in ("requests_running", "requests_waiting", "tokens_waiting")
        }
        done = not any(left.values()) and standing["descriptors"] <= before["descriptors"] + 2
        if done or time.monotonic() > until_s:
            return standing | left
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    main()
