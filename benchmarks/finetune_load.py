"""Time the server's answers while a fine-tune trains beside them: by how much the time between tokens grows.

    python benchmarks/finetune_load.py [--methods linear_probe dan] [--clients 1 8]

Starts a server over a data folder of its own, waits until its compiled step has taken over, and streams as
`http_load.py` does: without a fine-tune, then with one of each method running from the first token to the last. A
fine-tune trains on made-up texts of about a hundred tokens, for longer than the measurement takes, and is cancelled
then. Prints medians and their ratio, which is to be 2 at most, and writes `benchmarks/results/finetune_load.json`;
server, worker and clients share the machine, so run it on a quiet one.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import tempfile
import time
import urllib.request
from pathlib import Path

import http_load
from rich.console import Console
from rich.table import Table

ROWS, WORDS_PER_TEXT = 3000, 80
RESULTS = Path(__file__).parent / "results" / "finetune_load.json"


def main() -> None:
    """Measure without a fine-tune and with each, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument(
        "--methods", nargs="+", choices=["linear_probe", "dan", "lora"], default=["linear_probe", "dan"]
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KELVIN_DATA_DIR"] = folder
        os.environ.setdefault("KELVIN_MODELS_DIR", str(Path.home() / ".local/share/kelvin/models"))
        server, url = http_load.start_server(arguments.model)
        try:
            http_load.wait_until_settled(url)
            rows = run(url, arguments)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    show(rows)


def run(url, arguments):
    """Return a row for each number of clients and each method."""
    alone = {clients: measure(url, clients) for clients in arguments.clients}
    rows = [{"method": "none", "clients": clients, "ratio": 1.0} | found for clients, found in alone.items()]
    for method in arguments.methods:
        job = start(url, method)
        for clients in arguments.clients:
            before = progress(url, job)
            found = measure(url, clients)
            after = progress(url, job)
            ratio = found["inter_token_ms"]["p50"] / alone[clients]["inter_token_ms"]["p50"]
            rows.append({"method": method, "clients": clients, "ratio": ratio, "trained": [before, after]} | found)
        ask(url, f"/v1/fine_tuning/jobs/{job}/cancel", {})
        wait_for(url, job, "cancelled")
    return rows


def measure(url, clients):
    """Return the server's rates and latencies at a number of clients."""
    return asyncio.run(http_load.measure(url, clients))


def start(url, method):
    """Begin a fine-tune that lasts, and return its id once its worker trains."""
    draw = random.Random(0)
    texts = (" ".join(draw.choices(http_load.WORDS, k=WORDS_PER_TEXT)) for _ in range(ROWS))
    lines = "".join(json.dumps({"text": text, "label": f"class {n % 4}"}) + "\n" for n, text in enumerate(texts))
    training_file = upload(url, lines.encode())
    body = {"training_file": training_file, "method_name": method, "hyperparameters": {"n_epochs": 10_000}}
    job = ask(url, "/v1/fine_tuning/jobs", body)["id"]
    wait_for(url, job, "running")
    time.sleep(8)  # its libraries are loaded, its texts are read or its first steps taken
    return job


def progress(url, job):
    """Return how many steps a fine-tune has taken; it must be running still."""
    found = ask(url, f"/v1/fine_tuning/jobs/{job}")
    if found["status"] != "running":
        raise SystemExit(f"the fine-tune is {found['status']}: {found['error']}")
    return found["progress"]["step"]


def wait_for(url, job, status):
    """Wait until a fine-tune has a status."""
    while (found := ask(url, f"/v1/fine_tuning/jobs/{job}"))["status"] != status:
        if found["status"] == "failed":
            raise SystemExit(found["error"]["message"])
        time.sleep(0.1)


def upload(url, content):
    """Upload a file, and return its id."""
    parts = (
        b'--kelvin\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        b'--kelvin\r\nContent-Disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n%b\r\n--kelvin--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=kelvin"}
    request = urllib.request.Request(f"{url}/v1/files", parts % content, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["id"]


def ask(url, path, body=None):
    """Send a request, and return the answer."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def show(rows) -> None:
    """Print a line for each method and number of clients."""
    table = Table(
        "fine-tune", "clients", "between tokens p50 / p99 ms", "ratio of p50", "tokens/s", "first token p50 ms"
    )
    for row in rows:
        gap = row["inter_token_ms"]
        table.add_row(
            row["method"], str(row["clients"]), f"{gap['p50']} / {gap['p99']}", f"{row['ratio']:.2f}",
            str(row["tokens_per_s"]), str(row["first_token_ms"]["p50"]),
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
