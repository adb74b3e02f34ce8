"""Time the sampler alone: one draw for every row, beside the warpers of `transformers` and `torch.multinomial`.

    python benchmarks/sampler.py [--rows 1 8 32 128] [--vocab 32000 49152 151936] [--no-baseline]

Prints a table in milliseconds and writes `benchmarks/results/sampler.json`. The logits fall off as those of a language
model do: a few tokens far ahead of a normal crowd. Scenarios: `greedy`; `T`, temperature 0.8 with one seed for all
rows; `seeded`, the same with a seed a row; `top-k` 50, `top-p` 0.95 and `min-p` 0.05 at that temperature; `flat`, top-p
0.95 at temperature 3, whose nucleus is thousands of tokens; `filters`, all truncations at once; `all on`, these and
every penalty, ban and rule against repetition over a history of 500 tokens; `mixed`, rows of all of these in turn.
The baseline applies the warpers of the same scenario, in the order of transformers, and draws once for the batch, since
it has no seeds; where transformers has no counterpart, the rest is applied alone. Medians of alternating repeats; run
it on a quiet machine.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from samplers.params import SamplingParams
from server.backends.torch_compile import Compilation
from server.backends.torch_kernels import load_kernels
from server.backends.torch_sampler import Sampler
from server.settings import load_settings

REPEATS, HISTORY, MAX_LENGTH = 15, 500, 2048
CPU = torch.device("cpu")
RESULTS = Path(__file__).parent / "results" / "sampler.json"
FILTERS = {
    "temperature": 0.8, "top_k": 50, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.95, "epsilon_cutoff": 3e-4,
    "eta_cutoff": 3e-4, "top_n_sigma": 3.0, "xtc_probability": 0.5,
}  # fmt: skip
PENALTIES = {
    "repetition_penalty": 1.1, "presence_penalty": 0.1, "frequency_penalty": 0.1, "no_repeat_ngram_size": 4,
    "dry_multiplier": 0.8, "logit_bias": {7: 1.0}, "bad_words": ((5, 6),), "min_tokens": 1, "stop_token_ids": (2,),
}  # fmt: skip
SCENARIOS = {
    "greedy": {"temperature": 0.0},
    "T": {"temperature": 0.8},
    "seeded": {"temperature": 0.8},
    "top-k": {"temperature": 0.8, "top_k": 50},
    "top-p": {"temperature": 0.8, "top_p": 0.95},
    "min-p": {"temperature": 0.8, "min_p": 0.05},
    "flat": {"temperature": 3.0, "top_p": 0.95},
    "filters": FILTERS,
    "all on": FILTERS | PENALTIES,
}
PROMPT = [i % 97 + 10 for i in range(HISTORY)]


def main() -> None:
    """Measure every size and show the table."""
    arguments = parse_arguments()
    cache_dir = load_settings().cache_dir
    if not load_kernels(cache_dir):
        raise SystemExit("the kernels could not be built; see the warning above")
    cells = [
        cell
        for vocab_size in arguments.vocab
        for cell in measure_vocabulary(vocab_size, arguments.rows, cache_dir, baseline=arguments.baseline)
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(cells, indent=1) + "\n")
    show(cells)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--vocab", type=int, nargs="+", default=[32_000, 49_152, 151_936])
    parser.add_argument("--no-baseline", dest="baseline", action="store_false", help="leave transformers out")
    return parser.parse_args()


def measure_vocabulary(vocab_size, row_counts, cache_dir, *, baseline):
    """Measure all scenarios of one vocabulary, compiled once."""
    most = max(row_counts)
    sampler = Sampler(
        num_slots=most,
        scratch=range(most, most + 2),
        vocab_size=vocab_size,
        eos_token_ids=(2,),
        max_length=MAX_LENGTH,
        device=CPU,
    )
    compilation = Compilation(sampler.programs(), cache_dir=cache_dir, device=CPU)
    if not compilation.wait():
        raise SystemExit("the sampler could not be compiled; see the log")
    for rows in row_counts:
        logits = realistic_logits(rows, vocab_size)
        sides = {}
        for name in (*SCENARIOS, "mixed"):
            sides[name, "kelvin"] = ours(sampler, compilation, logits, name)
            if baseline and name != "mixed":
                sides[name, "transformers"] = theirs(logits, SCENARIOS[name])
        for (name, side), milliseconds in alternate(sides).items():
            yield {"vocab": vocab_size, "rows": rows, "scenario": name, "side": side, "ms": round(milliseconds, 3)}


def realistic_logits(rows, vocab_size):
    """Make a crowd of tokens, and 200 that stand out: the best holds about a third of the probability."""
    generator = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, vocab_size, generator=generator) * 2.0
    ahead = torch.stack([torch.randperm(vocab_size, generator=generator)[:200] for _ in range(rows)])
    return logits.scatter(1, ahead, (17.0 - torch.arange(200).sqrt()).expand(rows, -1).contiguous())


def ours(sampler, compilation, logits, name):
    """Return a function that draws a token for every row as the backend does."""
    rows = logits.shape[0]
    asked = list(SCENARIOS.values()) if name == "mixed" else [SCENARIOS[name]]
    params = [SamplingParams(**asked[row % len(asked)], seed=0 if name == "T" else row) for row in range(rows)]

    def step():
        state = sampler.take(range(rows), params)
        sampled = sampler.draw(logits, state, compilation.run)
        sampler.move_on(sampled.token_ids)
        return sampled.token_ids.tolist()

    def begin():
        for slot, row in enumerate(params):
            sampler.admit(slot, PROMPT, row, 0)

    return begin, step


def theirs(logits, asked):
    """Return a function that applies the warpers of transformers and draws."""
    makers = {
        "repetition_penalty": RepetitionPenaltyLogitsProcessor,
        "no_repeat_ngram_size": NoRepeatNGramLogitsProcessor,
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
        "typical_p": TypicalLogitsWarper,
        "epsilon_cutoff": EpsilonLogitsWarper,
    }
    warpers = LogitsProcessorList([maker(asked[name]) for name, maker in makers.items() if asked.get(name)])
    if asked.get("eta_cutoff"):
        warpers.append(EtaLogitsWarper(asked["eta_cutoff"], device="cpu"))
    history = torch.tensor([PROMPT] * logits.shape[0])

    def step():
        scores = warpers(history, logits.clone())  # some warpers write in place
        if asked["temperature"] == 0.0:
            return scores.argmax(-1).tolist()
        return torch.multinomial(torch.softmax(scores, -1), 1).tolist()

    return (lambda: None), step


def alternate(sides):
    """Time each side once in turn, again and again, so that a disturbance meets them alike; medians in milliseconds."""
    times = {side: [] for side in sides}
    for repeat in range(REPEATS + 2):
        for side, (begin, step) in sides.items():
            begin()
            started_s = time.perf_counter()
            with torch.no_grad():
                step()
            if repeat >= 2:
                times[side].append((time.perf_counter() - started_s) * 1e3)
    return {side: statistics.median(values) for side, values in times.items()}


def show(cells):
    """Print a table, a scenario a line and a size a column."""
    sizes = list(dict.fromkeys((cell["vocab"], cell["rows"]) for cell in cells))
    found = {(cell["vocab"], cell["rows"], cell["scenario"], cell["side"]): cell["ms"] for cell in cells}
    for vocab_size in dict.fromkeys(vocab for vocab, _ in sizes):
        table = Table(title=f"vocabulary {vocab_size:,}, {torch.get_num_threads()} threads: ms, Kelvin / transformers")
        rows = [rows for vocab, rows in sizes if vocab == vocab_size]
        for heading in ("", *(f"{count} rows" for count in rows)):
            table.add_column(heading, justify="right")
        for name in (*SCENARIOS, "mixed"):
            cell = (pair(found, vocab_size, count, name) for count in rows)
            table.add_row(name, *cell)
        Console().print(table)


def pair(found, vocab_size, rows, name):
    """Write the times of both sides."""
    times = [found.get((vocab_size, rows, name, side)) for side in ("kelvin", "transformers")]
    return " / ".join("-" if value is None else f"{value:.2f}" for value in times)


if __name__ == "__main__":
    main()
