"""The soak, short: some seconds of overload on a tiny model, with all kinds of clients. The long one is `make soak`."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.robustness.tiny_model import write_model

ROOT = Path(__file__).parents[2]


def test_a_short_soak_finds_nothing_wrong(tmp_path):
    model, results = write_model(tmp_path / "tiny"), tmp_path / "soak.json"
    command = [
        sys.executable, "benchmarks/soak.py", "--model", f"tiny={model}", "--seconds", "5", "--hold-seconds", "1.5",
        "--clients", "8", "32", "--tokens", "12", "--threads", "1", "--no-compile", "--results", str(results),
    ]  # fmt: skip
    outcome = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout[-2000:] + outcome.stderr[-2000:]
    report = json.loads(results.read_text())
    assert report["wrong"] == []
    assert [row["held_at_once"] for row in report["held"]] == [8, 32]
    assert all(row["answered"] == row["requests"] > 0 for row in report["held"])
    assert report["overload"]["requests"] > 50
    assert set(report["overload"]["behaviours"]) >= {"reads", "leaves", "bad"}
