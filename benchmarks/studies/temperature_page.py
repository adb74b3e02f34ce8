"""The page of the temperature study: its tables, its figures and what they say."""

import platform
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from server.comparison.metrics import METRICS

SHOWN = (
    "pairwise_distance", "distinct_1", "distinct_2", "vendi", "self_bleu", "distinct_k", "seq_rep_4", "surprise",
    "entropy", "kl", "kept", "top_mass", "mean_length",
)  # fmt: skip
# Okabe and Ito 2008: told apart by every kind of colour vision.
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#000000", "#D55E00", "#CC79A7", "#E69F00", "#8C8C00", "#808080", "#A0A0A0")
MARKERS = "os^Dv<>pP*"


def draw_figures(folder: Path, report) -> None:
    """Draw the frontier, the prompts and the entropy by position as SVG.

    Args:
        folder: made if need be.
        report: of the settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update(
        {"font.size": 10, "svg.hashsalt": "kelvin", "axes.spines.top": False, "axes.spines.right": False}
    )
    for name, draw in (("frontier", frontier), ("prompts", prompts), ("entropy", entropy)):
        figure = draw(report)
        figure.savefig(folder / f"study-temperature-{name}.svg", metadata={"Date": None}, facecolor="white")
        plt.close(figure)


def frontier(report):
    """Draw diversity against surprise, an arm a point with both intervals."""
    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    for arm, colour, marker in zip(report.arms, COLOURS, MARKERS, strict=True):
        x, y = arm.metrics["surprise"], arm.metrics["pairwise_distance"]
        x_bar, y_bar = arm.intervals["surprise"], arm.intervals["pairwise_distance"]
        spread = {
            "xerr": [[x - x_bar.low], [x_bar.high - x]],
            "yerr": [[y - y_bar.low], [y_bar.high - y]],
        }
        axes.errorbar(x, y, **spread, fmt=marker, color=colour, markersize=7, linewidth=1, label=arm.name)
    axes.set_xlabel("surprise, nats a token → less coherent")
    axes.set_ylabel("distance between answers → more diverse")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def prompts(report):
    """Draw both primaries prompt by prompt."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    names = [arm.name for arm in report.arms]
    for axes, metric in zip(both, ("pairwise_distance", "surprise"), strict=True):
        for row in zip(*(arm.per_prompt[metric] for arm in report.arms), strict=True):
            axes.plot(range(len(names)), row, color="#80808066", linewidth=0.7)
        for number, (arm, colour, marker) in enumerate(zip(report.arms, COLOURS, MARKERS, strict=True)):
            values = arm.per_prompt[metric]
            axes.plot([number] * len(values), values, marker, color=colour, markersize=4, linestyle="none")
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
        label = METRICS[metric].label
        axes.set_ylabel(", ".join(filter(None, (label.name, label.unit))))
        axes.grid(axis="y", alpha=0.25)
    return figure


def entropy(report):
    """Draw the entropy of the draw by position."""
    figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
    for arm, colour in zip(report.arms, COLOURS, strict=True):
        axes.plot(arm.entropy_by_position, color=colour, linewidth=1.4, label=arm.name)
    axes.set_xlabel("position in the answer, tokens")
    axes.set_ylabel("entropy of the draw, nats")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def write_page(settings, frameworks, laws) -> str:
    """Write the study as Markdown.

    Args:
        settings: report of the settings.
        frameworks: report of torch and TensorFlow.
        laws: what was checked.
    """
    model = settings.arms[0]
    return f"""# Study: temperature and truncation

What do temperature and truncation do to the answers of a small model, and do both frameworks agree? Made by
`python -P benchmarks/studies/temperature_study.py`, which draws it all anew and fails if a law below is broken.
{len(settings.prompts)} prompts, {settings.samples_per_prompt} samples of each arm and prompt, \
{settings.max_tokens} tokens at most, seed {settings.seed}, common random numbers; \
SmolLM2-135M-Instruct in {model.framework} on an {platform.machine()} CPU. \
[comparisons.md](comparisons.md) defines the metrics and the tests.

## What holds

{table(["claim", "figures", "holds"], [[law.claim, law.figures, "yes" if law.holds else "**no**"] for law in laws])}

## Diversity against coherence

![Distance against surprise](figures/study-temperature-frontier.svg)

Means over prompts; bars are 95 % intervals. Up is more diverse, left is more coherent.

{metric_table(settings)}

## The verdict, as the report words it

{bullets(settings.verdict)}

{warned(settings)}
## Prompt by prompt

![Both primaries by prompt](figures/study-temperature-prompts.svg)

## Entropy by position

![Entropy by position](figures/study-temperature-entropy.svg)

## torch against TensorFlow

The same seeds and settings (temperature 1, float32) in both frameworks, tested for equality:

{bullets(frameworks.verdict)}

{warned(frameworks)}"""


def metric_table(report) -> str:
    """Write the means of the metrics, an arm a line."""
    head = ["", *(METRICS[metric].label.name for metric in SHOWN)]
    return table(head, [[arm.name, *(shown(arm.metrics[metric]) for metric in SHOWN)] for arm in report.arms])


def table(head, rows) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(sentences) -> str:
    """Write a Markdown list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def warned(report) -> str:
    """Write a report's warnings, if there are any."""
    return f"Warnings of the report:\n\n{bullets(report.warnings)}\n\n" if report.warnings else ""


def shown(value) -> str:
    """Write a number with three digits."""
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
