"""Time the server over HTTP: throughput and latency at several numbers of clients.

    python benchmarks/http_load.py [--clients 1 8 32] [--rounds 3] [--url http://host:port] [--no-engine]

Starts a server of its own unless a URL is given, waits until its compiled step has taken over, and streams: 64 tokens
out, prompts of 14 to 175 tokens that share no beginning, temperature 0.8, top-p 0.95, a seed a request. Each client
sends its next request when the last has ended. By turns with that, `engine_load.py` puts the same load on an engine
without HTTP. Says what share of its rate arrives over HTTP, the median of the rounds; what top-p costs at the largest
number of clients; and the time to the first token against the backend's alone. Prints a table and writes
`benchmarks/results/http.json`. Server and clients share the machine, where the engine alone has it for itself: run it
on a quiet one.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

NEW_TOKENS = 64
REQUESTS_PER_CLIENT = {1: 8, 8: 4}
FIELDS = {"temperature": 0.8, "top_p": 0.95}
WORDS = ["time", "way", "year", "work", "water", "house", "light", "sound", "stone", "river", "night", "story", "road"]
RESULTS = Path(__file__).parent / "results" / "http.json"
ENGINE = Path(__file__).parent / "engine_load.py"


def main() -> None:
    """Measure every number of clients and show the table."""
    arguments = parse_arguments()
    most = arguments.clients[-1]
    rounds, alone, untruncated = [], [], []
    with serving(arguments) as url:
        report = {"model": arguments.model, "ready_s": wait_until_settled(url)}
        with engine_alone(arguments) as engine:
            for _ in range(arguments.rounds):
                rounds.append([asyncio.run(measure(url, clients)) for clients in arguments.clients])
                untruncated.append(asyncio.run(measure(url, most, top_p=1.0)))
                if engine:
                    alone.append(ask(engine))
            first_s = float(engine.communicate()[0]) if engine else None
    rows = report["clients"] = [median_of(row) for row in zip(*rounds, strict=True)]
    if engine:
        compare(rows, rounds, alone)
        report["first_token_ratio"] = round(rows[0]["first_token_ms"]["p50"] / first_s / 1e3, 3)
    ratios = [own[-1]["tokens_per_s"] / other["tokens_per_s"] for own, other in zip(rounds, untruncated, strict=True)]
    report["top_p_ratio"] = round(statistics.median(ratios), 3)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="of a server that runs already")
    parser.add_argument(
        "--engine", action=argparse.BooleanOptionalAction, default=True, help="time it without HTTP too"
    )
    return parser.parse_args()


@contextmanager
def serving(arguments):
    """Give the address that was asked for, or that of a server on a free port, which ends afterwards."""
    if arguments.url:
        yield arguments.url
        return
    server, url = start_server(arguments.model)
    try:
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def start_server(model, *options):
    """Start a server on a free port; return its process and address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = [sys.executable, "-m", "server", "serve", "--model", model, "--port", str(port)]
    command = [*serve, "--log-level", "error", *options]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, env=environment), f"http://127.0.0.1:{port}"


def wait_until_ready(url) -> None:
    """Wait until a server answers."""
    start = time.monotonic()
    while not answers(url):
        if time.monotonic() - start > 300:
            raise SystemExit(f"no server became ready at {url}")
        time.sleep(0.1)


def wait_until_settled(url) -> float:
    """Wait for readiness, then for the compiled step; return the seconds until ready."""
    start = time.monotonic()
    wait_until_ready(url)
    ready_s = time.monotonic() - start
    while compiled_share(url) < 1:
        if time.monotonic() - start > 300:
            raise SystemExit("the compiled step did not take over within 300 s")
        time.sleep(0.5)
    return round(ready_s, 1)


def compiled_share(url) -> float:
    """Ask a server how much of its step is compiled."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return min(float(share) for share in re.findall(r"^kelvin_compiled_share{[^}]*} (\S+)$", text, re.MULTILINE))


def answers(url) -> bool:
    """Tell whether a server answers a request."""
    try:
        asyncio.run(stream(url, "hello", 0, 1))
    except (OSError, RuntimeError):
        return False
    return True


@contextmanager
def engine_alone(arguments):
    """Start an engine in a process of its own, without HTTP, that is loaded and warm; None where none is wanted."""
    if not arguments.engine:
        yield None
        return
    command = [sys.executable, ENGINE, "--by-turns", "--model", arguments.model]
    command += ["--clients", *map(str, arguments.clients)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, **pipes) as engine:
        try:
            ask(engine)
            yield engine
        finally:
            engine.kill()


def ask(engine) -> list[float]:
    """Have an engine put the load on itself once, and return its tokens a second at each number of clients."""
    engine.stdin.write("\n")
    engine.stdin.flush()
    return json.loads(engine.stdout.readline())


def median_of(rows) -> dict:
    """Return the medians of several rounds with the same number of clients."""
    latencies = ("first_token_ms", "inter_token_ms")
    medians = {
        name: {cut: statistics.median(row[name][cut] for row in rows) for cut in ("p50", "p99")} for name in latencies
    }
    return rows[0] | medians | {"tokens_per_s": statistics.median(row["tokens_per_s"] for row in rows)}


def compare(medians, rounds, alone) -> None:
    """Add to the medians what the engine does without HTTP, and the median ratio of a round."""
    for column, row in enumerate(medians):
        rates = [engine[column] for engine in alone]
        ratios = [own[column]["tokens_per_s"] / rate for own, rate in zip(rounds, rates, strict=True)]
        row |= {"engine_tokens_per_s": statistics.median(rates), "engine_ratio": round(statistics.median(ratios), 3)}


def requests_of(clients) -> int:
    """Return how many requests each of so many clients sends."""
    return REQUESTS_PER_CLIENT.get(clients, 3)


async def measure(url, clients, **fields) -> dict:
    """Let clients send requests at once, one after another each, and return rates and latencies."""
    await asyncio.gather(*(stream(url, prompt(-1, client), client, 8) for client in range(clients)))

    async def client(index):
        seeds = (1000 * index + i for i in range(requests_of(clients)))
        return [await stream(url, prompt(index, i), seed, NEW_TOKENS, **fields) for i, seed in enumerate(seeds)]

    start = time.perf_counter()
    answers = [answer for each in await asyncio.gather(*map(client, range(clients))) for answer in each]
    seconds = time.perf_counter() - start
    gaps = [gap for answer in answers for gap in answer["gaps"]]
    firsts = [answer["first_s"] for answer in answers]
    return {
        "clients": clients,
        "requests": len(answers),
        "tokens_per_s": round(sum(answer["tokens"] for answer in answers) / seconds, 1),
        "first_token_ms": percentiles(firsts),
        "inter_token_ms": percentiles(gaps),
    }


def prompt(client, index) -> str:
    """Make up a prompt, another for each client and request."""
    choose = random.Random(f"{client}/{index}")
    return f"{client} {index} " + " ".join(choose.choices(WORDS, k=choose.randint(10, 170)))


async def stream(url, prompt, seed, max_tokens, times=None, **fields) -> dict:
    """Send one streamed request over a connection of its own and time its events, into a list that others may read."""
    address = urlsplit(url)
    body = {"prompt": prompt, "max_tokens": max_tokens, "seed": seed} | FIELDS | fields
    content = json.dumps(body | {"ignore_eos": True, "stream": True}).encode()
    head = f"POST /generate HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content)
    status = await reader.readline()
    if b" 200 " not in status:
        writer.close()
        raise RuntimeError(status.decode())
    times, last = [] if times is None else times, {}
    async for line in reader:
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            times += [time.perf_counter()] * sum(len(choice["token_ids"]) for choice in event.get("choices", []))
            last = event
    writer.close()
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return {
        "tokens": len(times),
        "first_s": times[0] - start,
        "gaps": gaps,
        "reproducible": last["sampling"]["reproducible"],
    }


def percentiles(seconds) -> dict:
    """Return the median and the 99th percentile in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(cuts[49] * 1e3, 1), "p99": round(cuts[98] * 1e3, 1)}


def show(report) -> None:
    """Print a number of clients a line, then the ratios."""
    columns = ["clients", "requests", "tokens/s", "first token p50 / p99 ms", "between tokens p50 / p99 ms"]
    columns += ["engine's tokens/s", "ratio"] if "engine_ratio" in report["clients"][0] else []
    table = Table(*columns, title=f"{report['model']}, ready after {report['ready_s']} s")
    for row in report["clients"]:
        first, gap = row["first_token_ms"], row["inter_token_ms"]
        latencies = (f"{first['p50']} / {first['p99']}", f"{gap['p50']} / {gap['p99']}")
        engine = [str(row[name]) for name in ("engine_tokens_per_s", "engine_ratio") if name in row]
        table.add_row(str(row["clients"]), str(row["requests"]), str(row["tokens_per_s"]), *latencies, *engine)
    Console(width=120).print(table)
    print(f"top-p 0.95 by temperature alone, {report['clients'][-1]['clients']} clients: {report['top_p_ratio']}")
    if "first_token_ratio" in report:
        print(f"first token by the backend's prefill and step, 1 client: {report['first_token_ratio']}")


if __name__ == "__main__":
    main()
