"""Time what the samplers add to a decode step of a real model: the step at a plain temperature, and with more asked.

    python -P benchmarks/sampler_step.py [--model smollm2] [--rows 1 8 32]

Prints a table in milliseconds and writes `benchmarks/results/sampler_step.json`. The scenarios are those of
`benchmarks/sampler.py`; the rows hold a prompt of 100 tokens and go on from there. Scenarios take turns, a few steps
each, so that whatever disturbs the machine disturbs them alike; medians of all their steps. Run it on a quiet machine.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from samplers.params import SamplingParams
from server.backends import load_backend
from server.backends.base import PromptPiece
from server.models.load import load_spec
from server.models.reference import parse_model_ref
from server.models.registry import Registry
from server.models.weights import read_weights
from server.settings import load_settings

sys.path.append(str(Path(__file__).parent))
from sampler import SCENARIOS

PROMPT_LENGTH, ROUNDS, STEPS = 100, 12, 5
RESULTS = Path(__file__).parent / "results" / "sampler_step.json"


def main() -> None:
    """Measure every number of rows and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    arguments = parser.parse_args()
    backend = load(arguments.model, max(arguments.rows))
    cells = [cell for rows in arguments.rows for cell in measure(backend, rows)]
    backend.close()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(cells, indent=1) + "\n")
    show(cells)


def load(model, num_slots):
    """Load a model and wait until its step is compiled."""
    settings = load_settings()
    folder = Registry(settings.models_dir).locate(parse_model_ref(model), None)
    spec = load_spec(folder)
    backend = load_backend(
        "torch",
        spec,
        read_weights(folder, spec),
        num_slots=num_slots,
        max_length=512,
        cache_dir=settings.cache_dir,
    )
    if not backend.wait_until_compiled():
        raise SystemExit("the step could not be compiled; see the log")
    return backend


def measure(backend, rows):
    """Return the median milliseconds of a step for every scenario at one number of rows."""
    slots = list(range(rows))
    prompt = [i % 97 + 1000 for i in range(PROMPT_LENGTH)]
    for slot in slots:
        backend.prefill([PromptPiece(slot, prompt[:-1], 0)])
    times = {name: [] for name in SCENARIOS}
    for turn in range(ROUNDS):
        for name, asked in SCENARIOS.items():
            for slot in slots:
                backend.admit(slot, prompt, SamplingParams(**asked, seed=slot + rows * turn, max_tokens=300), slot)
            for step in range(STEPS):
                started_s = time.perf_counter()
                backend.decode(slots)
                if step:  # the first finds other code in the caches
                    times[name].append((time.perf_counter() - started_s) * 1e3)
    return [{"rows": rows, "scenario": name, "ms": round(statistics.median(t), 3)} for name, t in times.items()]


def show(cells):
    """Print a row a scenario: milliseconds, and how much more than a plain temperature that is."""
    found = {(cell["rows"], cell["scenario"]): cell["ms"] for cell in cells}
    row_counts = sorted({rows for rows, _ in found})
    table = Table(title="milliseconds a step (more than T)")
    table.add_column("scenario")
    for rows in row_counts:
        table.add_column(f"{rows} rows", justify="right")
    for name in SCENARIOS:
        texts = []
        for rows in row_counts:
            ms, plain = found[rows, name], found[rows, "T"]
            texts.append(f"{ms:.2f} ({ms - plain:+.2f}, {(ms / plain - 1) * 100:+.1f} %)")
        table.add_row(name, *texts)
    Console().print(table)


if __name__ == "__main__":
    main()
