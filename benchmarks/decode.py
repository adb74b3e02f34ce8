"""Time a backend's decode step: tokens a second at several batch sizes, beside what others make of the same model.

    python benchmarks/decode.py [--rows 1 8 32] [--no-baseline]
    python benchmarks/decode.py --quantization int8 [--llama PYTHON --gguf FILE]
    python benchmarks/decode.py --framework tensorflow [--keras-hub DIR]

Prints a table and writes `benchmarks/results/decode.json`, `decode-int8.json` or `decode-tensorflow.json`. Everything
is measured in one run on one machine: the memory bandwidth, the backend's compiled step (temperature 0.8, top-p 0.95, a
seed a row), and the others in Kelvin's type: beside torch `transformers` generate, beside TensorFlow Kelvin's torch
backend, and the generate of KerasHub (see `peers/keras_generate.py`) where DIR holds it:

    pip install --target DIR --no-deps keras-hub kagglehub kagglesdk

Beside weights of eight bits stand Kelvin's unquantised ones, and llama.cpp's bfloat16 and Q8_0 where PYTHON is the
interpreter of an environment with llama-cpp-python and FILE the model's GGUF (see `peers/llama_quantized.py`).

A prefill that generate does is subtracted. Each side runs in a process of its own, with the threads that it sets up for
itself. Medians over repeats; run it on a quiet machine.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
from pathlib import Path

from floor import add_bandwidth_shares, bytes_per_step, measure_machine, timed
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

PROMPT_LENGTH, NEW_TOKENS, SLOTS = 22, 64, 32
TEMPERATURE, TOP_P = 0.8, 0.95
RESULTS = Path(__file__).parent / "results"
PEERS = Path(__file__).parent / "peers"
KERAS = PEERS / "keras_generate.py"
LLAMA = ["llama_bf16", "llama_q8_0"]


def main() -> None:
    """Measure every side in a process of its own, and show the table."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.WARNING)
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments)))
        return
    report = run_side("machine") | run_side(arguments.framework)
    add_bandwidth_shares(report)
    llama = run_llama(arguments) if arguments.llama else {}
    for name in baselines(arguments):
        rates = run_keras(arguments) if name == "keras_hub" else llama.get(name) or run_side(name)
        for row, rate in zip(report["rows"], rates, strict=True):
            row[f"{name}_tokens_per_s"] = round(rate, 1)
            row[f"{name}_ratio"] = round(row["tokens_per_s"] / rate, 2)
    RESULTS.mkdir(exist_ok=True)
    kind = arguments.framework if arguments.quantization == "none" else arguments.quantization
    results = RESULTS / ("decode.json" if kind == "torch" else f"decode-{kind}.json")
    results.write_text(json.dumps(report, indent=1) + "\n")
    show(report, baselines(arguments))


def baselines(arguments) -> list[str]:
    """Return the names of what Kelvin is measured against."""
    if not arguments.baseline:
        return []
    if arguments.quantization != "none":
        return ["unquantized", *(LLAMA if arguments.llama else [])]
    if arguments.framework == "torch":
        return ["transformers"]
    return ["torch_float32", *(["keras_hub"] if arguments.keras_hub else [])]


def run_side(side):
    """Measure one side in a process of its own, so that none finds another's threads and memory."""
    return run([__file__, *sys.argv[1:], "--side", side], os.environ)


def run_keras(arguments):
    """Measure KerasHub where it is installed, in tokens a second for each row count."""
    folder, _ = locate(arguments)
    sizes = ["--prompt-length", PROMPT_LENGTH, "--new-tokens", NEW_TOKENS, "--rows", *arguments.rows]
    command = [KERAS, folder, *sizes, "--temperature", TEMPERATURE, "--top-p", TOP_P]
    path = os.pathsep.join(filter(None, [str(arguments.keras_hub), os.environ.get("PYTHONPATH")]))
    return run(map(str, command), os.environ | {"PYTHONPATH": path, "KERAS_BACKEND": "tensorflow"})


def run_llama(arguments) -> dict:
    """Measure llama.cpp in its own environment, in tokens a second for each kind of weights and row count."""
    sizes = ["--prompt-length", PROMPT_LENGTH, "--new-tokens", NEW_TOKENS, "--repeats", arguments.repeats]
    command = [PEERS / "llama_quantized.py", "rates", arguments.gguf, *sizes, "--rows", *arguments.rows]
    return {f"llama_{kind}": rates for kind, rates in run(map(str, command), os.environ, arguments.llama).items()}


def run(command, environment, interpreter=sys.executable):
    """Run Python, and return the JSON of its last line."""
    outcome = subprocess.run([interpreter, *command], stdout=subprocess.PIPE, check=True, text=True, env=environment)
    return json.loads(outcome.stdout.splitlines()[-1])


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--framework", default="torch", choices=["torch", "tensorflow"])
    parser.add_argument("--quantization", default="none", choices=["none", "int8"], help="of weights, in torch")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--max-steps", type=int, help="of one call, with TensorFlow; default: what it chooses")
    parser.add_argument("--baseline", action=argparse.BooleanOptionalAction, default=True, help="time the others too")
    parser.add_argument("--keras-hub", type=Path, metavar="DIR", help="where KerasHub is installed")
    parser.add_argument("--llama", metavar="PYTHON", help="interpreter that has llama-cpp-python")
    parser.add_argument("--gguf", metavar="FILE", help="the model as llama.cpp reads it")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if bool(arguments.llama) != bool(arguments.gguf):
        parser.error("--llama and --gguf go together: give both or none")
    return arguments


def locate(arguments) -> tuple[Path, Path]:
    """Return the model's folder and the cache's."""
    settings = load_settings()
    return Registry(settings.models_dir).locate(parse_model_ref(arguments.model), None), settings.cache_dir


def measure_backend(arguments, framework, dtype="auto", **options) -> dict:
    """Measure Kelvin's decode step, and the bytes that it must read."""
    folder, cache_dir = locate(arguments)
    spec = load_spec(folder)
    weights, slots = read_weights(folder, spec), max(SLOTS, *arguments.rows)
    options |= {"dtype": dtype, "num_slots": slots, "max_length": 512, "cache_dir": cache_dir}
    backend = load_backend(framework, spec, weights, **options)
    compiled = backend.wait_until_compiled()
    return {
        "model": arguments.model,
        "framework": framework,
        "dtype": backend.dtype,
        "quantization": backend.quantization,
        "compiled": compiled,
        "max_steps": backend.max_steps,
        "rows": [measure_rows(backend, spec, count, arguments.repeats) for count in arguments.rows],
    }


def measure_rows(backend, spec, count, repeats) -> dict:
    """Measure a step at one number of rows: the median of several runs."""
    decode_s(backend, count)
    step_s = statistics.median(decode_s(backend, count) / NEW_TOKENS for _ in range(repeats))
    return {
        "rows": count,
        "step_ms": round(step_s * 1e3, 2),
        "tokens_per_s": round(count / step_s, 1),
        "bytes_per_step": bytes_per_step(spec, backend, count, PROMPT_LENGTH + NEW_TOKENS // 2),
    }


def decode_s(backend, count) -> float:
    """Time decoding, prompts read beforehand."""
    prompt = list(range(100, 100 + PROMPT_LENGTH))
    for slot in range(count):
        params = SamplingParams(temperature=TEMPERATURE, top_p=TOP_P, seed=slot, ignore_eos=True, max_tokens=NEW_TOKENS)
        backend.prefill([PromptPiece(slot, prompt[:-1], 0)])
        backend.admit(slot, prompt, params)
    slots = range(count)
    steps = [min(backend.max_steps, NEW_TOKENS - drawn) for drawn in range(0, NEW_TOKENS, backend.max_steps)]
    return timed(lambda: [backend.decode_steps(slots, count) for count in steps])


def measure_transformers(arguments) -> list[float]:
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


def measure_torch_float32(arguments) -> list[float]:
    """Measure Kelvin's torch backend in the type that TensorFlow has on CPU, in tokens a second."""
    return rates_of(measure_backend(arguments, "torch", "float32"))


def rates_of(report) -> list[float]:
    """Return the tokens a second of each row count."""
    return [row["tokens_per_s"] for row in report["rows"]]


SIDES = {
    "machine": measure_machine,
    "torch": lambda arguments: measure_backend(arguments, "torch", quantization=arguments.quantization),
    "tensorflow": lambda arguments: measure_backend(arguments, "tensorflow", max_steps=arguments.max_steps or 0),
    "torch_float32": measure_torch_float32,
    "unquantized": lambda arguments: rates_of(measure_backend(arguments, "torch")),
    "transformers": measure_transformers,
}


def show(report, baselines) -> None:
    """Print a row count a line."""
    cores, bandwidth = report["machine"], report["bandwidth_gb_s"]
    kind = report["dtype"] if report["quantization"] == "none" else f"{report['dtype']} {report['quantization']}"
    title = f"{report['model']} {report['framework']} {kind}, {cores['cpu']}, {cores['threads']} threads, "
    columns = [column for name in baselines for column in (name.replace("_", " "), "ratio")]
    table = Table("rows", "ms a step", "tokens/s", "of bandwidth", *columns, title=f"{title}{bandwidth} GB/s")
    for row in report["rows"]:
        others = [row[f"{name}_{what}"] for name in baselines for what in ("tokens_per_s", "ratio")]
        table.add_row(
            *map(str, (row["rows"], row["step_ms"], row["tokens_per_s"], f"{row['bandwidth_share']:.0%}", *others))
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
