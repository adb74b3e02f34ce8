"""The page of the study of training temperatures: what holds, its tables and its figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from training_arms import CONTROL, DATA, LEAST_TEXTS, MAX_LENGTH
from training_contrasts import METRICS, Result, Trainings
from training_questions import QUESTIONS, tuned

# Okabe and Ito 2008: told apart by every kind of colour vision.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#CC79A7", "#009E73", "#E69F00")
DRAWN = (CONTROL, "T 0.5", "T 2", "2→0.5 linear", "0.5→2 linear", "5→1 at first")
COMPARED = ("T 0.5", "T 2", "2→0.5 linear", "0.5→2 linear")
TITLES = {data.name: data.title for data in DATA}
FIGURES = (
    ("accuracy", "accuracy, %", ".2f"),
    ("nll_before", "NLL at T = 1", ".3f"),
    ("nll_training", "NLL at the last T", ".3f"),
    ("nll_after", "NLL calibrated", ".3f"),
    ("ece_before", "ECE at T = 1, %", ".1f"),
    ("ece_training", "ECE at the last T, %", ".1f"),
    ("ece_after", "ECE calibrated, %", ".1f"),
    ("fitted_t", "fitted T", ".2f"),
    ("reached", "epochs to the level", ".1f"),
    ("best", "best epoch", ".1f"),
)


def draw_figures(folder: Path, trainings: Mapping[str, Trainings]) -> None:
    """Draw the courses of training, and what the temperature changes at the same and at the best rate.

    Args:
        folder: made if need be.
        trainings: by data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update(
        {"font.size": 10, "svg.hashsalt": "kelvin", "axes.spines.top": False, "axes.spines.right": False}
    )
    for name, draw in (("courses", _courses), ("rates", _rates)):
        figure = draw(trainings)
        figure.savefig(folder / f"study-training-temperature-{name}.svg", metadata={"Date": None}, facecolor="white")
        plt.close(figure)


def _courses(trainings):
    figure, panels = plt.subplots(1, len(trainings), figsize=(11, 3.8), layout="constrained")
    for axes, (name, own) in zip(panels, trainings.items(), strict=True):
        for arm, colour in zip(DRAWN, COLOURS, strict=True):
            axes.plot(own.looks, own.curves[arm], color=colour, linewidth=1.5, label=arm)
        axes.set_title(TITLES[name])
        axes.set_yscale("log")
        axes.set_xlabel("epoch")
    panels[0].set_ylabel("validation NLL, each at its best temperature")
    panels[-1].legend(frameon=False, fontsize=8)
    return figure


def _rates(trainings):
    figure, panels = plt.subplots(1, len(trainings), figsize=(11, 3.2), layout="constrained", sharey=True)
    for axes, (name, own) in zip(panels, trainings.items(), strict=True):
        for row, arm in enumerate(reversed(COMPARED)):
            pairs = ((arm, CONTROL, "o", -0.12, "#D55E00"), (tuned(arm), tuned(CONTROL), "s", 0.12, "#0072B2"))
            for plus, minus, marker, shift, colour in pairs:
                if plus not in own:
                    continue
                gaps = own.values(plus, "nll_after") - own.values(minus, "nll_after")
                axes.plot(gaps, np.full(len(gaps), row - shift), marker, color=colour, markersize=4, alpha=0.4)
                axes.plot(gaps.mean(), row - shift, "|", color=colour, markersize=16, markeredgewidth=2)
        axes.axvline(0, color="#808080", linewidth=0.8)
        axes.set_title(TITLES[name])
        axes.set_xlabel("NLL less the control's\n← better")
        axes.set_yticks(range(len(COMPARED)), list(reversed(COMPARED)))
    panels[0].plot([], [], "o", color="#D55E00", label="same rate")
    panels[0].plot([], [], "s", color="#0072B2", label="each at its best rate")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


OPENING = """# Study: the temperature of the loss

What does the temperature that a fine-tune divides its logits by do to what comes out? Made by
`python -P benchmarks/studies/training_temperature_study.py` (`make studies`), which trains what it has not kept, draws
all anew, and fails if a claim below does not hold."""

ON_CLAIMS = "The claims were worded in view of the results, so that they are to be tested on other data."

ON_CELLS = "Difference with its 95 % interval, and q; **bold** where q ≤ 0.05."

HOW = f"""\
- The fine-tune's own loop, network and optimiser in PyTorch, AdamW with warm-up over 5 % of the steps and cosine decay.
  Texts are bags of the tokens that {LEAST_TEXTS} training texts have, {MAX_LENGTH} tokens a text, so that there can be
  many trainings: accuracies are below those of [finetuning.md](finetuning.md).
- Of the rows that do not test, a seed chooses a tenth to validate and a tenth to calibrate; it also draws the initial
  weights, the order and the dropout, the same for all arms. Differences are taken seed by seed: mean, Student's 95 %
  interval and test (so few seeds are too few for a test of signs), and q by Benjamini and Hochberg over all contrasts
  of all data sets in a metric. A difference is called one at q ≤ 0.05. An open one is no proof of equality: its
  interval says what it may be. Rows of the test part are the same for all seeds (on digits each seed has its own), so
  that intervals speak of other seeds, not of other texts.
- Every arm is judged at its best epoch by validation NLL at the temperature that suits the epoch best: NLL at T = 1
  measures an arm's T as much as its weights. The temperature for the test part is fitted to the calibration part.
- Level: the validation NLL, so measured, that the control has after two fifths of its training; it is looked at four
  times an epoch. Who never gets there counts with all epochs.
- "5→1 at first": T falls from 5 to 1 in a fifth of training. "wide": layers four times as wide. "best rate": for
  each seed the one of once and twice the rate with the best validation NLL."""

DRAWINGS = """## Courses

![Validation NLL by epoch](figures/study-training-temperature-courses.svg)

## The same rate, and the best one

![NLL less the control's](figures/study-training-temperature-rates.svg)

A point is a seed; a stroke is the mean."""


def write_page(trainings: Mapping[str, Trainings], results: Sequence[Result], findings, advice: str) -> str:
    """Write the study as Markdown.

    Args:
        trainings: by data set.
        results: of all contrasts.
        findings: what is stated, checked.
        advice: that follows.
    """
    parts = [
        f"{OPENING} {_counts(trainings)}.",
        f"## What holds\n\nThe questions came first. {ON_CLAIMS}\n\n{_findings(findings)}",
        advice,
        f"## How it was done\n\n{_recipes()}\n\n{HOW}",
        DRAWINGS,
        f"## All contrasts\n\n{ON_CELLS}\n\n{_contrasts(results)}",
        f"## All arms\n\nMeans over seeds.\n\n{_arms(trainings)}",
    ]
    return "\n\n".join(parts) + "\n"


def _counts(trainings):
    return ", ".join(f"{TITLES[name]} {len(own.seeds)} seeds of {own.trained} arms" for name, own in trainings.items())


def _findings(findings):
    return table(
        ["claim", "what came out", "holds"],
        [[own.claim, own.figures, "yes" if own.holds else "**no**"] for own in findings],
    )


def _recipes():
    head = ["data", "method", "epochs", "rows of a step", "learning rate", "weight decay", "seeds"]
    rows = []
    for own in DATA:
        rates = f"{own.learning_rate:g}", f"{own.weight_decay:g}"
        rows.append([own.title, own.method, own.epochs, own.batch_size, *rates, own.seeds])
    return table(head, rows)


def _contrasts(results):
    parts = []
    for question in QUESTIONS:
        rows: dict[tuple, dict] = {}
        for result in results:
            if result.contrast.question == question:
                rows.setdefault((result.data, result.contrast.name), {})[result.metric] = _cell(result)
        lines = [[TITLES[data], name, *(own[metric] for metric in METRICS)] for (data, name), own in rows.items()]
        parts.append(f"### {question}\n\n{table(['data', 'contrast', *METRICS.values()], lines)}")
    return "\n\n".join(parts)


def _cell(result):
    digits = 3 if result.metric == "nll_after" else 2
    low, high = result.interval
    text = f"{result.mean:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}], {result.q:.3f}"
    return text if result.verdict == "open" else f"**{text}**"


def _arms(trainings):
    parts = []
    for name, own in trainings.items():
        lines = [
            [arm, *(f"{np.mean(own.values(arm, figure)):{form}}" for figure, _, form in FIGURES)] for arm in own.arms
        ]
        parts.append(f"### {TITLES[name]}\n\n{table(['arm', *(head for _, head, _ in FIGURES)], lines)}")
    return "\n\n".join(parts)


def table(head, rows) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
