"""Say on paper what a device could do: slots, bytes of keys and values, tokens a second, for models of several sizes.

    python benchmarks/scaling.py

Prints the tables of docs/scaling.md as Markdown; measures nothing. A step takes as long as the slower of reading every
weight once and multiplying each by every row, and then reads the keys and values of its rows and writes and reads its
logits; what is attained is one share of that floor's rate, the same everywhere, fitted to the decode rates measured on
CPU in docs/performance.md. The first table says how far each of these is from what the others say of it, and how far a
rate that others measured on a GPU is from what all say of it.
"""

import math
from dataclasses import dataclass

from shapes import kv_bytes, multiplied_weights, spec_of, stored_weights

LOGIT_PASSES = 3  # written once, read for the distances and for the draw
USABLE = 0.9  # of a device's memory; the rest is graphs, workspaces and the allocator's


@dataclass(frozen=True)
class Device:
    """A device, by its data sheet or as measured: memory in GB, read bandwidth in GB/s, bf16 products in TFLOP/s."""

    name: str
    memory_gb: float
    bandwidth_gb_s: float
    bf16_tflop_s: float


# Two cores of an EPYC (Zen 4): bandwidth and products as measured, docs/performance.md.
CPU = Device("2 cores of an EPYC (Zen 4)", 24, 34.5, 0.45)
A100 = Device("A100 SXM 80 GB", 80, 2039, 312)
GPUS = [
    Device("H100 SXM 80 GB", 80, 3350, 989),
    Device("H100 PCIe 80 GB", 80, 2000, 756),
    Device("H200 SXM 141 GB", 141, 4800, 989),
]
LENGTHS = (1024, 4096, 8192)  # positions of a slot
ROWS = (1, 8, 32, 128, 256)
MEAN_LENGTH = 1024  # positions that a row attends to while it is timed

# Rows → tokens a second of benchmarks/decode.py, 2026-11-24, SmolLM2 in bf16; prompts of 22 tokens and 64 new ones.
MEASURED = {1: 81, 8: 545, 32: 947}
MEASURED_LENGTH = 54
# Others' rates at one row in bf16 on an A100: README of gpt-fast, 2024.
OTHERS = {"8B": 93.9}


def step_s(spec, device, rows, length) -> float:
    """Return the least seconds of a step in bf16."""
    weights = multiplied_weights(spec)
    products = max(2 * weights / (device.bandwidth_gb_s * 1e9), 2 * weights * rows / (device.bf16_tflop_s * 1e12))
    moved = rows * (length * kv_bytes(spec) + LOGIT_PASSES * 4 * spec.vocab_size)
    return products + moved / (device.bandwidth_gb_s * 1e9)


def tokens_per_s(spec, device, rows, length, attained) -> float:
    """Return the tokens a second of all rows together."""
    return attained * rows / step_s(spec, device, rows, length)


def fit_attained(without=None) -> float:
    """Return the share of the floor's rate that was attained on CPU: the geometric mean over rows, without one."""
    spec = spec_of("135M")
    measured = {rows: rate for rows, rate in MEASURED.items() if rows != without}
    shares = [rate / tokens_per_s(spec, CPU, rows, MEASURED_LENGTH, 1.0) for rows, rate in measured.items()]
    return math.prod(shares) ** (1 / len(shares))


def num_slots(spec, device, length) -> int:
    """Return how many slots of a length fit beside the weights in bf16; 0: the weights alone do not fit."""
    free = USABLE * device.memory_gb * 1e9 - 2 * stored_weights(spec)
    return max(0, int(free / (length * kv_bytes(spec))))


def main() -> None:
    """Print the tables."""
    attained = fit_attained()
    print(f"Attained on CPU: {attained:.2f} of the floor's rate.\n")
    show_check(attained)
    show_memory()
    for name in ("1B", "8B"):
        show_rates(name, attained)
    show_split(attained)


def show_check(attained) -> None:
    """Print what was measured beside what is expected, on CPU from the other numbers of rows alone."""
    print("| checked against | rows | floor, tokens/s | expected | measured | error |\n|---|---|---|---|---|---|")
    checks = [("135M", CPU, rows, MEASURED_LENGTH, rate) for rows, rate in MEASURED.items()]
    checks += [(name, A100, 1, 128, rate) for name, rate in OTHERS.items()]
    for name, device, rows, length, rate in checks:
        floor = tokens_per_s(spec_of(name), device, rows, length, 1.0)
        expected = floor * (fit_attained(without=rows) if device is CPU else attained)
        source = "Kelvin" if device is CPU else "gpt-fast"
        print(
            f"| {source}, {name}, {device.name} | {rows} | {floor:.0f} | {expected:.0f} | {rate:g} "
            f"| {expected / rate - 1:+.0%} |"
        )
    print()


def show_memory() -> None:
    """Print what each model holds and how many slots each device has room for."""
    lengths = " / ".join(map(str, LENGTHS))
    print(f"| model | weights, GB | keys and values, KB a position | device | slots of {lengths} positions |")
    print("|---|---|---|---|---|")
    for name in ("1B", "8B", "70B"):
        spec = spec_of(name)
        for device in GPUS:
            slots = [num_slots(spec, device, length) for length in LENGTHS]
            told = " / ".join(map(str, slots)) if any(slots) else "the weights do not fit"
            sizes = f"{2 * stored_weights(spec) / 1e9:.1f} | {kv_bytes(spec) / 1e3:.0f}"
            print(f"| {name} | {sizes} | {device.name} | {told} |")
    print()


def show_rates(name, attained) -> None:
    """Print the expected tokens a second of a model, and the floor's in brackets."""
    spec = spec_of(name)
    print(
        f"| {name}, rows of {MEAN_LENGTH} positions | "
        + " | ".join(map(str, ROWS))
        + " |\n|---"
        + "|---" * len(ROWS)
        + "|"
    )
    for device in GPUS:
        most = num_slots(spec, device, MEAN_LENGTH)
        cells = [cell(tokens_per_s(spec, device, rows, MEAN_LENGTH, 1.0), attained, rows <= most) for rows in ROWS]
        print(f"| {device.name} | " + " | ".join(cells) + " |")
    print()


def show_split(attained) -> None:
    """Print the 70B model over four devices, as if they were one and never spoke to each other."""
    spec, one = spec_of("70B"), GPUS[0]
    four = Device("4 x H100 SXM", 4 * one.memory_gb, 4 * one.bandwidth_gb_s, 4 * one.bf16_tflop_s)
    most = num_slots(spec, four, MEAN_LENGTH)
    print("| 70B, four devices as one | " + " | ".join(map(str, ROWS)) + " |\n|---" + "|---" * len(ROWS) + "|")
    cells = [cell(tokens_per_s(spec, four, rows, MEAN_LENGTH, 1.0), attained, rows <= most) for rows in ROWS]
    print(f"| {four.name}, {most} slots | " + " | ".join(cells) + " |")


def cell(floor, attained, fits) -> str:
    """Write an expected rate and its floor."""
    return f"{floor * attained:,.0f} ({floor:,.0f})" if fits else "no room"


if __name__ == "__main__":
    main()
