"""Time how fast a served model turns texts into vectors for `linear_probe`, by the number of blocks that are read.

    python -P benchmarks/finetune_features.py [--model smollm2] [--framework torch] [--layers 6,12] [--rows 400]

Texts are random tokens, as long as news items are: 100 on average, the longest 512. Prints tokens a second, and how
long 5,000 texts take at that rate. A batch is read before the clock starts.
"""

import argparse
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from server.backends import load_embedder
from server.models.load import load_spec
from server.models.weights import read_weights
from server.settings import load_settings

ROWS = 5_000
MEDIAN_LENGTH, SPREAD, LONGEST = 78, 0.7, 512  # of a log-normal distribution with mean 100


def main() -> None:
    """Time each depth and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--framework", choices=["torch", "tensorflow"], default="torch")
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("--layers", default="", help="blocks to read, with commas; the default's if not given")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    table = Table("blocks", "tokens/s", f"{ROWS} texts")
    for layer in map(int, arguments.layers.split(",")) if arguments.layers else [None]:
        depth, rate, tokens_of_a_row = measure(arguments, layer)
        table.add_row(str(depth), f"{rate:,.0f}", f"{ROWS * tokens_of_a_row / rate:.0f} s")
    Console().print(table)


def measure(arguments: argparse.Namespace, layer: int | None) -> tuple[int, float, float]:
    """Return the blocks that are read, tokens a second, and the mean length of a text."""
    settings = load_settings()
    folder = settings.models_dir / arguments.model
    spec = load_spec(folder)
    options = {"dtype": arguments.dtype, "threads": arguments.threads, "cache_dir": settings.cache_dir}
    layers = None if layer is None else (layer,)
    embedder = load_embedder(arguments.framework, spec, read_weights(folder, spec), layers=layers, **options)
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(np.log(MEDIAN_LENGTH), SPREAD, arguments.rows), 1, LONGEST).astype(int)
    texts = [draw.integers(0, spec.vocab_size, length).tolist() for length in lengths]
    embedder.pool(texts[:16])
    began_s = time.perf_counter()
    embedder.pool(texts)
    return max(embedder.layers), lengths.sum() / (time.perf_counter() - began_s), lengths.mean()


if __name__ == "__main__":
    main()
