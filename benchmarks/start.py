"""Time a cold start: how soon a backend draws its first token, when all its programs are ready, and its peak memory.

    python benchmarks/start.py [--framework tensorflow] [--slots 32] [--cache-dir DIR] [--no-wait]

Counts from before the framework is imported, in this process, on the built-in model. Without DIR the caches of compiled
programs start empty; give the same DIR twice for a start that finds them. Prints a line of JSON; peak memory is also
given as a multiple of what weights in the backend's type and its keys and values need.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from samplers.params import SamplingParams
from server.backends import load_backend
from server.backends.base import PromptPiece
from server.models.load import load_spec
from server.models.reference import parse_model_ref
from server.models.registry import Registry
from server.models.weights import read_weights
from server.settings import load_settings

PROMPT = list(range(100, 122))


def main() -> None:
    """Start once, from empty caches unless a folder is given, and print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--framework", default="tensorflow", choices=["torch", "tensorflow"])
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True, help="for all programs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:
        print(json.dumps(start(arguments, arguments.cache_dir or Path(empty))))
    from server.serving import leave  # later than what is timed; a compiler may still be at work

    leave(0)


def start(arguments, cache_dir) -> dict:
    """Load a model, draw a token, wait for all programs, and report seconds and memory."""
    began_s = time.perf_counter()
    folder = Registry(load_settings().models_dir).locate(parse_model_ref(arguments.model), None)
    spec = load_spec(folder)
    options = {"num_slots": arguments.slots, "max_length": arguments.max_length, "cache_dir": cache_dir}
    backend = load_backend(arguments.framework, spec, read_weights(folder, spec), **options)
    report = {"framework": arguments.framework, "slots": arguments.slots}
    report["loaded_s"] = seconds_since(began_s)
    backend.prefill([PromptPiece(0, PROMPT[:-1], 0)])
    backend.admit(0, PROMPT, SamplingParams(temperature=0.8, top_p=0.95, seed=1, ignore_eos=True))
    backend.decode([0])
    report["first_token_s"] = seconds_since(began_s)
    if arguments.wait:
        report["compiled"] = backend.wait_until_compiled()
        report["compiled_s"] = seconds_since(began_s)
    needed = needed_bytes(spec, backend)
    report["peak_gb"] = round(peak_bytes() / 1e9, 2)
    report["peak_ratio"] = round(peak_bytes() / needed, 2)
    backend.close()
    return report


def needed_bytes(spec, backend) -> int:
    """Count weights, tied ones once, and the cache of all slots."""
    size = 2 if backend.dtype == "bfloat16" else 4
    heads = (2 * spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim
    layer = spec.hidden_size * (heads + spec.intermediate_size * (2 + spec.gated))
    cache = backend.num_slots * backend.max_length * spec.num_layers * 2 * spec.num_kv_heads * spec.head_dim
    return size * (spec.num_layers * layer + spec.vocab_size * spec.hidden_size + cache)


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def seconds_since(began_s) -> float:
    """Return the seconds since a point in time, to a tenth."""
    return round(time.perf_counter() - began_s, 1)


if __name__ == "__main__":
    main()
