"""Measure decoding on a GPU with random weights, on a machine that has torch, NumPy and this repository.

    python benchmarks/gpu.py [--shape 135M 1B 8B] [--rows 1 8 32 128 256]
    python benchmarks/gpu.py --device cpu

Needs no network and no other package. First the parity of the device with the CPU on a tiny shape: logits in float32
and in bfloat16, each type with its own attention there, and in float32 the tokens of seeded requests with all
settings. Then, in bfloat16, at each number of rows: tokens a second, the share of the bandwidth's ceiling, the share
of a step that sampling takes, how many steps replayed a graph, and requests with a seed beside requests that give
none. Prints tables and writes `benchmarks/results/gpu.json`. Where there is no GPU it says so; `--device cpu` runs the
same on the CPU with a tiny shape, which shows that the script runs.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

import torch
from shapes import kv_bytes, multiplied_weights, random_weights, spec_of

from samplers.params import SamplingParams
from server.backends import load_backend
from server.backends.base import PromptPiece
from server.backends.torch_graphs import recorder_of

PROMPT_LENGTH, NEW_TOKENS = 22, 64
LONGEST = 512
CACHE = Path(tempfile.gettempdir()) / "kelvin-gpu"
RESULTS = Path(__file__).parent / "results" / "gpu.json"
PLAIN = {"temperature": 0.8}
TRUNCATED = PLAIN | {"top_p": 0.95}
EVERYTHING = TRUNCATED | {
    "top_k": 50,
    "min_p": 0.01,
    "typical_p": 0.99,
    "repetition_penalty": 1.1,
    "dry_multiplier": 0.8,
}


def main() -> None:
    """Measure parity and every shape, and show the tables."""
    arguments = parse_arguments()
    if arguments.device != "cpu" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no CUDA device here: nothing was measured. See --device cpu.")
        return
    report = {"machine": describe_machine(arguments.device), "parity": measure_parity(arguments.device)}
    print(json.dumps(report["machine"]), json.dumps(report["parity"]), sep="\n", flush=True)
    report["shapes"] = {}
    for name in arguments.shape or (["tiny"] if arguments.device == "cpu" else ["135M", "1B", "8B"]):
        report["shapes"][name] = measure_shape(name, arguments, report["machine"]["bandwidth_gb_s"])
        show(name, report["shapes"][name])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", nargs="+", help="of shapes.py; default: 135M 1B 8B, on the CPU tiny")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32, 128, 256])
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def describe_machine(device) -> dict:
    """Say what is measured here, and how fast it reads memory that no cache can hold."""
    on_cuda = torch.device(device).type == "cuda"
    block = torch.ones(2**30 if on_cuda else 2**27, dtype=torch.float32, device=device)
    fastest_s = min(timed(block.sum, device) for _ in range(10))
    return {
        "device": torch.cuda.get_device_name(device) if on_cuda else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "bandwidth_gb_s": round(block.nbytes / fastest_s / 1e9, 1),
    }


def measure_parity(device) -> dict:
    """Compare a device with the CPU on the tiny shape: logits in two types, and the tokens of seeded requests."""
    spec, slots, differences = spec_of("tiny"), 8, {}
    weights = random_weights(spec)
    asked = [PLAIN, TRUNCATED, EVERYTHING, {"temperature": 0.0}]
    for dtype in ("bfloat16", "float32"):
        logits, drawn = [], []
        for where in (device, "cpu"):
            backend = load(spec, weights, where, dtype, slots, compile=False)
            for slot in range(slots):
                start(backend, spec, slot, 5 + 9 * slot, asked[slot % len(asked)] | {"seed": slot})
            logits.append(torch.tensor([backend.logits(slot) for slot in range(slots)]))
            drawn.append(torch.tensor([backend.decode(range(slots)).token_ids for _ in range(NEW_TOKENS)]))
            backend.close()
        differences[dtype] = (logits[0] - logits[1]).abs().max().item()
    # Where rounding decides a tie otherwise, two texts begin: tokens can be compared up to there.
    alike = (drawn[0] == drawn[1]).cummin(0).values.sum(0).tolist()
    return {"logits_differ_by": differences, "equal_float32_tokens": alike, "of": NEW_TOKENS}


def measure_shape(name, arguments, bandwidth_gb_s) -> dict:
    """Measure one shape at every number of rows."""
    spec, most = spec_of(name), max(arguments.rows)
    backend = load(spec, random_weights(spec), arguments.device, arguments.dtype, most, compile=arguments.compile)
    compiled = arguments.compile and backend.wait_until_compiled()
    rows = [measure_rows(backend, spec, count, arguments.repeats, bandwidth_gb_s) for count in arguments.rows]
    backend.close()
    return {"dtype": backend.dtype, "compiled": compiled, "max_steps": backend.max_steps, "rows": rows}


def measure_rows(backend, spec, count, repeats, bandwidth_gb_s) -> dict:
    """Measure a step at one number of rows: medians over repeats, the kinds of requests taking turns."""
    kinds = {"plain": PLAIN, "unseeded": TRUNCATED, "seeded": TRUNCATED, "everything": EVERYTHING}
    times = {kind: [] for kind in kinds}
    for turn in range(repeats + 1):
        before = backend.graph_counts.hits, backend.graph_counts.misses
        for kind, params in kinds.items():
            seeded = kind == "seeded"
            step_s = decode_s(backend, spec, count, params, seeded) / NEW_TOKENS
            if turn:  # the first records and warms up
                times[kind].append(step_s)
    hits, misses = (
        now - then for now, then in zip((backend.graph_counts.hits, backend.graph_counts.misses), before, strict=True)
    )
    median_s = {kind: statistics.median(each) for kind, each in times.items()}
    forward_s = statistics.median(forward_times_s(backend, count, repeats))
    element = 2 if backend.dtype == "bfloat16" else 4
    read = element * multiplied_weights(spec) + count * (PROMPT_LENGTH + NEW_TOKENS // 2) * kv_bytes(spec, element)
    return {
        "rows": count,
        "step_ms": round(median_s["seeded"] * 1e3, 3),
        "tokens_per_s": round(count / median_s["seeded"], 1),
        "of_ceiling": round(read / median_s["seeded"] / 1e9 / bandwidth_gb_s, 3),
        "sampling_share": {kind: round(1 - forward_s / own, 3) for kind, own in median_s.items()},
        "seeded_to_unseeded": round(median_s["seeded"] / median_s["unseeded"], 3),
        "graph_hits": hits / max(hits + misses, 1),
    }


def decode_s(backend, spec, count, params, seeded) -> float:
    """Time decoding, prompts read beforehand."""
    for slot in range(count):
        start(backend, spec, slot, PROMPT_LENGTH, params | ({"seed": slot + 1} if seeded else {}))
    slots = range(count)
    steps = [min(backend.max_steps, NEW_TOKENS - drawn) for drawn in range(0, NEW_TOKENS, backend.max_steps)]
    return timed(lambda: [backend.decode_steps(slots, number) for number in steps], backend.device)


def forward_times_s(backend, count, repeats) -> list[float]:
    """Time the forward pass alone, as steps run it: compiled where they are, and a graph where they are."""
    rows = torch.arange(count, device=backend.device)
    positions = torch.full_like(rows, PROMPT_LENGTH + NEW_TOKENS // 2)

    def run() -> torch.Tensor:
        return backend._forward(rows, rows, positions)

    with torch.no_grad():
        record = recorder_of(torch.device(backend.device))
        replay = run if record is None else record(run)[0]
        replay()
        return [timed(lambda: [replay() for _ in range(8)], backend.device) / 8 for _ in range(repeats)]


def load(spec, weights, device, dtype, slots, *, compile):
    """Load weights onto a device."""
    options = {"dtype": dtype, "device": device, "num_slots": slots, "max_length": LONGEST, "compile": compile}
    return load_backend("torch", spec, weights, cache_dir=CACHE, **options)


def start(backend, spec, slot, length, params) -> None:
    """Read a prompt of so many tokens into a slot and admit it."""
    prompt = [(7 * slot + 13 * i) % (spec.vocab_size - 3) + 3 for i in range(length)]
    backend.prefill([PromptPiece(slot, prompt[:-1], 0)])
    backend.admit(slot, prompt, SamplingParams(**params, max_tokens=NEW_TOKENS, ignore_eos=True), slot)


def timed(run, device) -> float:
    """Return the seconds that a call takes, until the device is done with it."""
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        torch.cuda.synchronize(device)
    started_s = time.perf_counter()
    run()
    if on_cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - started_s


def show(name, result) -> None:
    """Print a number of rows a line."""
    print(f"\n{name}, {result['dtype']}, compiled: {result['compiled']}, up to {result['max_steps']} steps a call")
    print("rows  ms a step  tokens/s  of ceiling  sampling: plain  top-p  everything  seeded/unseeded  graph hits")
    for row in result["rows"]:
        shares = row["sampling_share"]
        print(
            f"{row['rows']:4}  {row['step_ms']:9.3f}  {row['tokens_per_s']:8.1f}  {row['of_ceiling']:10.1%}  "
            f"{shares['plain']:15.1%}  {shares['seeded']:5.1%}  {shares['everything']:10.1%}  "
            f"{row['seeded_to_unseeded']:15.3f}  {row['graph_hits']:10.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
