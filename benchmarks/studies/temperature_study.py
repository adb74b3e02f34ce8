"""Study what temperature and truncation do to diversity and coherence, on the built-in model.

    python -P benchmarks/studies/temperature_study.py [--samples 12] [--max-tokens 48]

Runs two comparisons: ten settings of one model in one batch, and the same setting in torch and in TensorFlow. Writes
`docs/study-temperature.md` with its figures, checks the laws that the page states, and exits with 1 if one is broken.
All noise is named by a fixed seed, so that the same machine draws the same texts again.
"""

import argparse
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from server import terminal
from server.app import load_models
from server.comparison.local import compare, read_request
from server.comparison.metrics import LABELS
from server.comparison.plan import plan_of
from server.settings import load_settings

sys.path.append(str(Path(__file__).parent))
from temperature_page import draw_figures, write_page

DOCS = Path(__file__).parents[2] / "docs"
SEED = 20261124
PROMPTS = [
    "The lighthouse keeper climbed the stairs and",
    "My favourite food is",
    "In the year 2150, most people",
    "The best way to learn a language is",
    "A good friend is somebody who",
    "The experiment failed because",
    "On the last day of school,",
    "Behind the old door there was",
    "The mayor announced that the town",
    "When the rain finally stopped,",
    "The most important invention in history is",
    "She opened the letter and read:",
    "To bake a simple bread, you",
    "Nobody knew why the clock",
    "The history of this river begins",
    "If I could visit any planet, I",
]
SWEEP = {"T 0.3": 0.3, "T 0.7": 0.7, "T 0.9": 0.9, "T 1": 1.0, "T 1.5": 1.5}
TRUNCATED = {
    "T 1, top-p 0.9": {"temperature": 1.0, "top_p": 0.9},
    "T 1.5, min-p 0.1": {"temperature": 1.5, "min_p": 0.1},
    "T 2, top-p 0.9": {"temperature": 2.0, "top_p": 0.9},
    "T 2, min-p 0.1": {"temperature": 2.0, "min_p": 0.1},
}
BASELINE = "T 1"
FRAMEWORKS = {"torch": "smollm2@torch", "tensorflow": "smollm2@tensorflow"}
MARGINS = {"pairwise_distance": 0.03, "surprise": 0.1}


@dataclass(frozen=True)
class Law:
    """Something that must come out.

    Attributes:
        claim: what.
        figures: what did.
        holds: whether that is it.
    """

    claim: str
    figures: str
    holds: bool


def main() -> None:
    """Run both comparisons, write the page, and say which laws hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--max-tokens", type=int, default=48)
    arguments = parser.parse_args()
    arms = [{"name": name, "temperature": value} for name, value in SWEEP.items()]
    arms += [{"name": name, **fields} for name, fields in TRUNCATED.items()]
    settings, _ = run(arguments, arms, ["smollm2"], "auto", baseline=BASELINE, aa=True)
    own = [{"name": name, "model": name} for name in FRAMEWORKS]
    named = [f"{name}={model}" for name, model in FRAMEWORKS.items()]
    frameworks, parts = run(arguments, own, named, "float32", baseline="torch", equivalence_margins=MARGINS)
    laws = [*laws_of(settings), *(equal(contrast) for contrast in frameworks.comparisons if contrast.primary)]
    laws.append(same_texts(parts))
    draw_figures(DOCS / "figures", settings)
    (DOCS / "study-temperature.md").write_text(write_page(settings, frameworks, laws), encoding="utf-8")
    for law in laws:
        Console().print(f"{'holds' if law.holds else '[bold red]BROKEN[/]'}: {law.claim}: {law.figures}")
    sys.exit(not all(law.holds for law in laws))


def run(arguments, arms, models, dtype, **rest):
    """Compare arms of some models on all prompts, show the table, and return the report and what was drawn."""
    settings = load_settings(models=models, dtype=dtype)
    request = read_request(
        prompts=PROMPTS, arms=arms, samples_per_prompt=arguments.samples, max_tokens=arguments.max_tokens, seed=SEED,
        **rest,
    )  # fmt: skip
    plan = plan_of(request, first_model=models[0].partition("=")[0], max_tokens=settings.max_comparison_tokens)
    with ExitStack() as closings, terminal.progress_bars() as progress:
        loaded = load_models(settings)
        for model in loaded.values():
            closings.enter_context(closing(model))
        report, parts = compare(plan, loaded, lambda done, eta_s: progress(f"{len(arms)} arms", done / len(PROMPTS)))
    terminal.show_comparison(report)
    return report, parts


def laws_of(settings):
    """Check everything that must come out whatever the noise: orderings, and what theory says exactly."""
    found = {arm.name: arm.metrics for arm in settings.arms}
    laws = [
        rises("surprise", "surprise rises with temperature", found),
        rises("entropy", "entropy rises with temperature", found),
        rises("pairwise_distance", "distance rises with temperature", found),
        rises("distinct_2", "distinct-2 rises with temperature", found),
    ]
    free, cut, hot, kept = (found[name] for name in ("T 1", "T 1.5, min-p 0.1", "T 2, top-p 0.9", "T 2, min-p 0.1"))
    laws += [
        Law(
            "at T = 1 without truncation the draw is from the model itself: KL = 0",
            f"{free['kl']:.2g} nats",
            free["kl"] == 0.0,
        ),
        Law(
            "at T = 1 surprise is entropy on average, within 10 %",
            f"{free['surprise']:.2f} and {free['entropy']:.2f} nats",
            abs(free["surprise"] / free["entropy"] - 1) < 0.1,
        ),
        Law(
            "at T = 2, min-p 0.1 is far less surprising than top-p 0.9, by 3 nats at least",
            f"{kept['surprise']:.2f} and {hot['surprise']:.2f} nats",
            hot["surprise"] > kept["surprise"] + 3,
        ),
        Law(
            "min-p 0.1 at T = 1.5 is as diverse as T = 1, within 0.1 of distance, at less surprise",
            f"distance {cut['pairwise_distance']:.2f} and {free['pairwise_distance']:.2f}, "
            f"surprise {cut['surprise']:.2f} and {free['surprise']:.2f} nats",
            abs(cut["pairwise_distance"] - free["pairwise_distance"]) < 0.1 and cut["surprise"] < free["surprise"],
        ),
    ]
    return laws


def rises(metric, claim, found):
    """Check that a metric rises with temperature over the arms that only differ by it."""
    values = [found[name][metric] for name in SWEEP]
    figures = " < ".join(f"{value:.3g}" for value in values)
    return Law(claim, figures, all(low < high for low, high in pairwise(values)))


def equal(contrast):
    """Check that a contrast of the frameworks is within its margin, by a test."""
    return Law(
        f"torch and TensorFlow are equivalent in {LABELS[contrast.metric].name}, within ±{MARGINS[contrast.metric]}",
        f"difference {contrast.difference:+.4f} [{contrast.ci_low:.4f}, {contrast.ci_high:.4f}]",
        bool(contrast.equivalent),
    )


def same_texts(parts):
    """Check how many samples are the same tokens in both frameworks."""
    drawn = {}
    for part in parts:
        for own in part.completions:
            drawn.setdefault((own.prompt_index, own.sample_index), []).append(own.token_ids)
    equal_pairs = sum(first == second for first, second in drawn.values())
    claim = "torch and TensorFlow draw the same tokens from the same seeds, in 99 % of samples at least"
    return Law(claim, f"{equal_pairs:,} of {len(drawn):,} samples", equal_pairs >= 0.99 * len(drawn))


if __name__ == "__main__":
    main()
