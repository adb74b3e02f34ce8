"""Time the decode step of the torch backend: tokens a second at several batch sizes, beside `transformers` generate.

    python benchmarks/decode.py [--rows 1 8 32] [--no-baseline]

Prints a table and writes `benchmarks/results/decode.json`. Everything is measured in one run on one machine: the memory
bandwidth, the backend's compiled step (temperature 0.8 and top-p 0.95, a seed a row), and generate with the same prompt
lengths, temperature and top-p, its prefill subtracted. Each side runs in a process of its own, with the threads that it
sets up for itself. Medians over repeats; run it on a quiet machine.
"""

import argparse
import json
import logging
import platform
import statistics
import subprocess
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

PROMPT_LENGTH, NEW_TOKENS, REPEATS = 22, 64, 5
TEMPERATURE, TOP_P = 0.8, 0.95
RESULTS = Path(__file__).parent / "results" / "decode.json"


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.WARNING)
    if arguments.side:
        print(json.dumps((ours if arguments.side == "ours" else theirs)(arguments)))
        return
    report = run_side("ours")
    if arguments.baseline:
        for row, rate in zip(report["rows"], run_side("theirs"), strict=True):
            row["transformers_tokens_per_s"] = round(rate, 1)
            row["ratio"] = round(row["tokens_per_s"] / rate, 2)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def run_side(side):
    safe_path = "-P"  # without this folder, whose http.py is not Python's
    command = [sys.executable, safe_path, __file__, *sys.argv[1:], "--side", side]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()[-1])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--baseline", action=argparse.BooleanOptionalAction, default=True, help="time transformers too")
    parser.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    return parser.parse_args()


def locate(arguments) -> tuple[Path, Path]:
    settings = load_settings()
    return Registry(settings.models_dir).locate(parse_model_ref(arguments.model), None), settings.cache_dir


def ours(arguments) -> dict:
    """Measure Kelvin's backend."""
    folder, cache_dir = locate(arguments)
    spec = load_spec(folder)
    weights = read_weights(folder, spec)
    backend = load_backend("torch", spec, weights, num_slots=max(arguments.rows), max_length=512, cache_dir=cache_dir)
    compiled = backend.wait_until_compiled()
    bandwidth = read_bandwidth()
    return {
        "machine": machine(),
        "model": arguments.model,
        "dtype": backend.dtype,
        "compiled": compiled,
        "bandwidth_gb_s": round(bandwidth / 1e9, 1),
        "rows": [measure(backend, spec, count, bandwidth) for count in arguments.rows],
    }


def read_bandwidth() -> float:
    """Measure bytes a second when all threads read memory that no cache can hold."""
    import torch

    block = torch.ones(2**28, dtype=torch.float32)
    return block.nbytes / min(timed(block.sum) for _ in range(5))


def measure(backend, spec, count, bandwidth) -> dict:
    decode_s(backend, count)
    step_s = statistics.median(decode_s(backend, count) / NEW_TOKENS for _ in range(REPEATS))
    return {
        "rows": count,
        "step_ms": round(step_s * 1e3, 2),
        "tokens_per_s": round(count / step_s, 1),
        "bandwidth_share": round(bytes_per_step(spec, backend.dtype, count) / bandwidth / step_s, 3),
    }


def decode_s(backend, count) -> float:
    prompt = list(range(100, 100 + PROMPT_LENGTH))
    for slot in range(count):
        params = SamplingParams(temperature=TEMPERATURE, top_p=TOP_P, seed=slot, ignore_eos=True)
        backend.prefill([PromptPiece(slot, prompt[:-1], 0)])
        backend.admit(slot, prompt, params)
    slots = range(count)
    return timed(lambda: [backend.decode(slots) for _ in range(NEW_TOKENS)])


def bytes_per_step(spec, dtype, count) -> float:
    """Count what a step must read: every weight once, and the keys and values of the rows at their mean length."""
    size = 2 if dtype == "bfloat16" else 4
    hidden, heads = spec.hidden_size, (2 * spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim
    layer = hidden * heads + hidden * spec.intermediate_size * (2 + spec.gated)
    weights = spec.num_layers * layer + spec.vocab_size * hidden
    cache = count * (PROMPT_LENGTH + NEW_TOKENS / 2) * spec.num_layers * 2 * spec.num_kv_heads * spec.head_dim
    return size * (weights + cache)


def theirs(arguments) -> list[float]:
    """Measure `transformers` generate on the same weights in Kelvin's type, in tokens a second for each row count."""
    import torch
    from transformers import AutoModelForCausalLM

    from server.backends.torch import pick_dtype

    model = AutoModelForCausalLM.from_pretrained(locate(arguments)[0], dtype=pick_dtype("auto", torch.device("cpu")))

    def generate_s(count, new_tokens) -> float:
        prompt = torch.arange(100, 100 + PROMPT_LENGTH).expand(count, -1)
        options = {"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0, "pad_token_id": 0}
        options |= {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
        with torch.no_grad():
            return timed(lambda: model.generate(prompt, attention_mask=torch.ones_like(prompt), **options))

    def tokens_per_s(count) -> float:
        generate_s(count, 2)
        seconds = [generate_s(count, NEW_TOKENS + 1) - generate_s(count, 1) for _ in range(3)]
        return count * NEW_TOKENS / statistics.median(seconds)

    return [tokens_per_s(count) for count in arguments.rows]


def timed(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def machine() -> dict:
    import torch

    capabilities = torch.cpu.get_capabilities()
    return {
        "cpu": capabilities.get("cpu_name", platform.processor()),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def show(report) -> None:
    cores, bandwidth = report["machine"], report["bandwidth_gb_s"]
    title = f"{report['model']} {report['dtype']}, {cores['cpu']}, {cores['threads']} threads, {bandwidth} GB/s"
    table = Table("rows", "ms a step", "tokens/s", "of bandwidth", "transformers", "ratio", title=title)
    for row in report["rows"]:
        share = f"{row['bandwidth_share']:.0%}"
        theirs, ratio = row.get("transformers_tokens_per_s", "-"), row.get("ratio", "-")
        table.add_row(*map(str, (row["rows"], row["step_ms"], row["tokens_per_s"], share, theirs, ratio)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
