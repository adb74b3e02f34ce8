"""What bounds a decode step: the bytes that it reads, and how fast this machine reads them."""

import platform
import time


def measure_machine(arguments) -> dict:
    """Say what this machine is, and how fast it reads memory that no cache can hold."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    block = torch.ones(2**28, dtype=torch.float32)
    return {
        "machine": {
            "cpu": capabilities.get("cpu_name", platform.processor()),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
        },
        "bandwidth_gb_s": round(block.nbytes / min(timed(block.sum) for _ in range(5)) / 1e9, 1),
    }


def bytes_per_step(spec, backend, count, length) -> int:
    """Count what a step must read: every weight once, and the keys and values of so many rows of a length."""
    size = 2 if backend.dtype == "bfloat16" else 4
    weight_size = size if backend.quantization == "none" else 1 + 2 / 32  # a code, and a scale for 32 of them
    hidden, heads = spec.hidden_size, (2 * spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim
    layer = hidden * heads + hidden * spec.intermediate_size * (2 + spec.gated)
    weights = spec.num_layers * layer + spec.vocab_size * hidden
    cache = count * length * spec.num_layers * 2 * spec.num_kv_heads * spec.head_dim
    return round(weight_size * weights + size * cache)


def add_bandwidth_shares(report) -> None:
    """Say what share of the memory's bandwidth each step uses."""
    for row in report["rows"]:
        bytes_per_s = row.pop("bytes_per_step") / row["step_ms"] * 1e3
        row["bandwidth_share"] = round(bytes_per_s / 1e9 / report["bandwidth_gb_s"], 3)


def timed(run) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
