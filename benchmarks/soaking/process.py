"""The server's process: started on a free port, and looked at from outside."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

START_S = 300.0


class Process:
    """A server in a process of its own.

    Attributes:
        port: on this machine.
    """

    def __init__(self, model, folder, *, threads, compile):
        """Start it; `wait_until_settled` waits for it.

        Args:
            model: as `kelvin serve --model` takes it.
            folder: of its state and its log.
            threads: of the framework; 0: its own choice.
            compile: whether to compile the decode step.
        """
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "server", "serve", "--model", model, "--port", str(self.port)]
        command += ["--log-level", "warning", "--threads", str(threads), "--compile" if compile else "--no-compile"]
        own = {"HF_HUB_OFFLINE": "1", "KELVIN_DATA_DIR": str(folder / "data"), "KELVIN_SEND_TIMEOUT_S": "5"}
        models = os.environ.get("KELVIN_MODELS_DIR") or str(Path.home() / ".local/share/kelvin/models")
        self._compile = compile
        self._log = folder / "log"
        with self._log.open("w") as log:
            environment = os.environ | {"KELVIN_MODELS_DIR": models} | own
            self._process = subprocess.Popen(command, env=environment, stderr=log)

    async def wait_until_settled(self):
        """Wait until it is ready, and its compiled step has taken over."""
        deadline_s = time.monotonic() + START_S
        while not self._settled():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit(f"the server did not become ready: {self._log.read_text()[-2000:]}")
            await asyncio.sleep(0.2)

    def _settled(self):
        try:
            figures = self.figures()
        except OSError:
            return False
        return figures.get("kelvin_compiled_share", 0) == 1 if self._compile else "kelvin_slots" in figures

    def figures(self):
        """Return what /metrics says, by name, labels left out and summed up."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as response:
            text = response.read().decode()
        figures = {}
        for name, value in re.findall(r"^(\w+)(?:\{[^}]*\})? (\S+)$", text, flags=re.MULTILINE):
            figures[name] = figures.get(name, 0) + float(value)
        return figures

    def standing(self):
        """Return the memory, threads and descriptors that it has now, those of its children with them."""
        own = Path(f"/proc/{self._process.pid}")
        status = (own / "status").read_text()
        return {
            "rss_bytes": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024,
            "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
            "descriptors": len(list((own / "fd").iterdir())),
        }

    def complaints(self):
        """Return the lines of its log that are errors, of which there should be none."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["level"] in ("error", "critical")]

    def num_cut_off(self):
        """Count the clients that it has cut off because they took nothing."""
        return sum("has taken nothing" in line for line in self._log.read_text().splitlines())

    def stop(self):
        """End it, and return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
