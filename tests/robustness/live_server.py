"""`kelvin serve` as an operator starts it, in a process of its own, whose memory can be read."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from tests.robustness.tiny_model import write_model
from tests.robustness.wire import Refused, request_bytes, send

ROOT = Path(__file__).parents[2]
MAX_BODY_BYTES = 100_000
MAX_FILE_BYTES = 200_000
START_S = 120.0


class LiveServer:
    """A server that answers.

    Attributes:
        port: on 127.0.0.1.
        folder: of all its state.
        process: it runs in.
    """

    def __init__(self, port, folder, process):
        self.port = port
        self.folder = folder
        self.process = process

    @property
    def log(self):
        """What it has written to its standard error, as lines."""
        return (self.folder / "log").read_text(errors="replace").splitlines()

    def complaints(self):
        """Return the lines of the log that speak of an error that nobody foresaw."""
        parsed = [json.loads(line) if line.startswith("{") else {"level": "info", "event": line} for line in self.log]
        return [line for line in parsed if line["level"] in ("error", "critical") or "Traceback" in str(line)]

    def resident_bytes(self):
        """Return the memory that it has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def require_alive(self):
        """Fail where the process has ended."""
        assert self.process.poll() is None, "\n".join(self.log[-20:])


@contextmanager
def live_server(folder, *options, key=None):
    """Start a server of a tiny model, give it when it is ready, and stop it.

    Args:
        folder: empty, for the model, the state and the log.
        options: more of them for `kelvin serve`.
        key: that opens it; None: it asks for none.
    """
    model = write_model(folder / "tiny")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "server", "serve", "--model", f"tiny={model}", "--port", str(port)]
    command += ["--no-compile", "--slots", "4", "--threads", "1", "--log-level", "info", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KELVIN_")} | {
        "KELVIN_DATA_DIR": str(folder / "data"),
        "KELVIN_MODELS_DIR": str(folder / "models"), "KELVIN_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "KELVIN_MAX_FILE_BYTES": str(MAX_FILE_BYTES), "KELVIN_MAX_COMPARISON_TOKENS": "500",
        "KELVIN_MAX_TIMEOUT_S": "20", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, cwd=ROOT, env=environment)
    server = LiveServer(port, folder, process)
    try:
        _await_ready(server, key)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(server, key):
    deadline_s = time.monotonic() + START_S
    headers = () if key is None else (f"Authorization: Bearer {key}",)
    while not _is_ready(server, headers):
        server.require_alive()
        assert time.monotonic() < deadline_s, "\n".join(server.log[-20:])
        time.sleep(0.1)


def _is_ready(server, headers):
    try:
        return send(server.port, request_bytes("GET", "/health/ready", b"", *headers)).status == 200
    except Refused:  # nobody listens yet
        return False
