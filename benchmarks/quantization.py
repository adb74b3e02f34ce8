"""Measure what weights of eight bits lose: how far next-token distributions move, over real tokens.

    python benchmarks/quantization.py [--model smollm2] [--llama PYTHON --gguf FILE]

Prints a table and writes `benchmarks/results/quantization.json`. The tokens are the first 256 of six pages of this
repository. After each of them the whole distribution is compared: by Kullback-Leibler divergence in nats, mean and
largest, and by how often both have the same most probable token. "int8 to bfloat16" is the divergence of int8 from
bfloat16. The perplexity is that of the pages. Bfloat16 to float32 is the yardstick: what the type alone costs.

With `--llama`, the interpreter of an environment that has llama-cpp-python, the same is measured of llama.cpp's Q8_0
against its own float32, from the model's GGUF file, which holds the same weights.
"""

import argparse
import json
import subprocess
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from server.backends.tiles import whole_tiles
from server.backends.torch_decoder import Decoder
from server.backends.torch_kernels import load_kernels
from server.models.load import load_spec
from server.models.reference import parse_model_ref
from server.models.registry import Registry
from server.models.tokenizer import Tokenizer
from server.models.weights import read_weights
from server.settings import load_settings

HERE = Path(__file__).parent
PROSE = ("calibration", "comparisons", "datasets", "operations", "samplers")
PAGES = ("README.md", *(f"docs/{name}.md" for name in PROSE))
TOKENS = 256  # of each page
KINDS = {"float32": ("float32", "none"), "bfloat16": ("bfloat16", "none"), "int8": ("bfloat16", "int8")}
PAIRS = (("float32", "bfloat16"), ("float32", "int8"), ("bfloat16", "int8"))


def main() -> None:
    """Measure every kind of weights, and show how they differ."""
    arguments = parse_arguments()
    settings = load_settings()
    folder = Registry(settings.models_dir).locate(parse_model_ref(arguments.model), None)
    assert load_kernels(settings.cache_dir), "what is measured are the kernels, which need a C++ compiler"
    tokenizer = Tokenizer.from_folder(folder)
    pages = [tokenizer.encode((HERE.parent / page).read_text())[:TOKENS] for page in PAGES]
    logprobs = {kind: read_pages(folder, pages, *how) for kind, how in KINDS.items()}
    rows = [compare(f"{other} to {kind}", logprobs[kind], logprobs[other], pages) for kind, other in PAIRS]
    if arguments.llama:
        command = [arguments.llama, HERE / "peers" / "llama_quantized.py", "distances", arguments.gguf]
        outcome = subprocess.run(command, input=json.dumps(pages), stdout=subprocess.PIPE, check=True, text=True)
        rows += json.loads(outcome.stdout.splitlines()[-1])
    report = {"model": arguments.model, "pages": PAGES, "tokens": sum(map(len, pages)), "rows": rows}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "quantization.json").write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--llama", metavar="PYTHON", help="interpreter that has llama-cpp-python")
    parser.add_argument("--gguf", metavar="FILE", help="the model as llama.cpp reads it")
    arguments = parser.parse_args()
    if bool(arguments.llama) != bool(arguments.gguf):
        parser.error("--llama and --gguf go together: give both or none")
    return arguments


@torch.no_grad()
def read_pages(folder, pages, dtype, quantization) -> torch.Tensor:
    """Return the log-probabilities after every token of all pages, float32 [tokens, vocab]."""
    spec = load_spec(folder)
    kind = getattr(torch, dtype)
    options = {"operators": torch.ops.kelvin, "dtype": kind, "device": torch.device("cpu")}
    weights = read_weights(folder, spec)
    decoder = Decoder(spec, weights, max_length=TOKENS, quantization=quantization, **options)
    shape = (len(pages), spec.num_kv_heads, whole_tiles(TOKENS), spec.head_dim)
    keys, values = ([torch.zeros(shape, dtype=kind) for _ in range(spec.num_layers)] for _ in range(2))
    after = []
    for slot, page in enumerate(pages):
        token_ids = torch.tensor(page)
        x = decoder(token_ids, torch.full_like(token_ids, slot), torch.arange(len(page)), keys, values)
        after.append(torch.log_softmax(decoder.logits(x).double(), -1).float())
    return torch.cat(after)


def compare(name, reference, other, pages) -> dict:
    """Say how far a kind of weights is from another, and how well it foretells the pages."""
    parts = zip(reference.split(64), other.split(64), strict=True)  # in float64 all at once would take gigabytes
    divergences = torch.cat([(a.double().exp() * (a.double() - b.double())).sum(-1) for a, b in parts])
    ends = torch.tensor([len(page) for page in pages]).cumsum(0) - 1
    inner = torch.ones(len(other), dtype=torch.bool).index_fill(0, ends, False)  # what comes after a page is not known
    following = torch.tensor([token_id for page in pages for token_id in page[1:]])
    return {
        "name": name,
        "mean_kl": divergences.mean().item(),
        "largest_kl": divergences.max().item(),
        "same_top_token": (reference.argmax(-1) == other.argmax(-1)).double().mean().item(),
        "perplexity": other[inner].gather(1, following[:, None]).double().mean().neg().exp().item(),
    }


def show(report) -> None:
    """Print a pair of kinds a line."""
    title = f"{report['model']}, {report['tokens']} tokens"
    table = Table("", "mean KL", "largest KL", "same top token", "perplexity", title=title)
    for row in report["rows"]:
        numbers = (f"{row['mean_kl']:.2e}", f"{row['largest_kl']:.2e}", f"{row['same_top_token']:.2%}")
        table.add_row(row["name"], *numbers, f"{row['perplexity']:.3f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
