"""Time what compiling in the background does to requests: the gaps between tokens while a server's caches are cold.

    python benchmarks/compile_stalls.py [--framework torch] [--warm] [--streams 4] [--model smollm2]

Starts a server with an empty cache of compiled programs (its kernels are kept; --warm: all of it), streams from the
moment it is ready, and goes on until the compiled step has taken over, 30 s at least. Prints the seconds to both, the
gaps between tokens until then, and how many were longer than 200 ms; beside them the gaps afterwards. Run it on a quiet
machine.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from http_interference import gaps_between
from http_load import compiled_share, percentiles, start_server, stream, wait_until_ready

from server.settings import load_settings

STALL_S = 0.2
LEAST_S, AFTER_S = 30.0, 5.0


def main() -> None:
    """Measure one start, and print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--framework", default="torch", choices=["torch", "tensorflow"])
    parser.add_argument("--warm", action="store_true", help="with the compiled programs of earlier starts")
    arguments = parser.parse_args()
    with caches(warm=arguments.warm) as environment:
        os.environ |= environment
        began_s = time.perf_counter()
        server, url = start_server(arguments.model, "--framework", arguments.framework)
        try:
            wait_until_ready(url)
            ready_s = time.perf_counter() - began_s
            report = asyncio.run(measure(url, arguments.streams))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    report["compiled_s"] = round(ready_s + report["compiled_s"], 1)
    print(json.dumps({"ready_s": round(ready_s, 1)} | report))


@contextmanager
def caches(*, warm):
    """Give the environment of a server whose caches hold kernels alone, or all that earlier starts have left."""
    if warm:
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        kernels = load_settings().cache_dir / "kernels"
        if kernels.is_dir():
            shutil.copytree(kernels, Path(folder) / "kernels")
        yield {"KELVIN_CACHE_DIR": folder}


async def measure(url, streams) -> dict:
    """Stream until some time after the compiled step has taken over."""
    times = [[] for _ in range(streams)]
    running = [asyncio.create_task(keep_streaming(url, own, number)) for number, own in enumerate(times)]
    began_s = time.perf_counter()
    while await asyncio.to_thread(compiled_share, url) < 1:
        if time.perf_counter() - began_s > 300:
            raise SystemExit("the compiled step did not take over within 300 s")
        await asyncio.sleep(0.2)
    compiled_s = time.perf_counter()
    await asyncio.sleep(max(0.0, began_s + LEAST_S - compiled_s))
    watched_s = time.perf_counter()
    await asyncio.sleep(AFTER_S)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    gaps = gaps_between(times, began_s, watched_s)
    return {
        "compiled_s": compiled_s - began_s,
        "gap_ms": percentiles(gaps) | {"longest": round(max(gaps) * 1e3, 1)},
        "stalls": sum(gap > STALL_S for gap in gaps),
        "gaps": len(gaps),
        "gap_ms_afterwards": percentiles(gaps_between(times, watched_s, watched_s + AFTER_S)),
    }


async def keep_streaming(url, times, number) -> None:
    """Send one long request after another."""
    for seed in range(1000):
        await stream(url, f"{number} {seed}", seed, 1500, times=times)


if __name__ == "__main__":
    main()
