"""Tables of a report, as HTML: the numbers behind its figures."""

import html
from collections.abc import Sequence

from server.comparison import figures
from server.comparison.metrics import METRICS, PRIMARIES
from server.comparison.result import Contrast, Report
from server.reports.page import folded
from server.reports.table import number, plain, table, with_interval


def named(report: Report, arm: str) -> str:
    """Write an arm's name beside its colour."""
    number = [own.name for own in report.arms].index(arm)
    shade = figures.colours(report)[number]
    role = ' <span class="role">baseline</span>' if arm == report.baseline else ""
    return f'<span class="dot" style="background:{shade}"></span>{html.escape(arm)}{role}'


def arm_table(report: Report) -> str:
    """Write every metric of every arm, with its interval."""
    head = ["metric", *(named(report, arm.name) for arm in report.arms)]
    rows = [
        [_label(metric), *(with_interval(arm.metrics[metric], arm.intervals[metric]) for arm in report.arms)]
        for metric in METRICS
    ]
    return table(head, rows)


def _label(metric: str) -> str:
    label = METRICS[metric].label
    return html.escape(f"{label.name}, {label.unit}" if label.unit else label.name)


def contrast_tables(report: Report) -> str:
    """Write the contrasts of the primaries, and those of all other metrics, which are exploratory, folded up."""
    primary = [contrast for contrast in report.comparisons if contrast.primary]
    rest = [contrast for contrast in report.comparisons if not contrast.primary]
    more = folded("all other metrics, exploratory", _contrast_table(report, rest))
    return _contrast_table(report, primary) + (more if rest else "")


def _contrast_table(report: Report, contrasts: Sequence[Contrast]) -> str:
    head = ["arm", "metric", "difference", "interval", "p", "d<sub>z</sub>", "wins / ties / losses", "in words"]
    return table(head, [_contrast_row(report, contrast) for contrast in contrasts], kind="contrasts")


def _contrast_row(report: Report, contrast: Contrast) -> list[str]:
    interval = "–"
    if contrast.ci_low is not None and contrast.ci_high is not None:
        interval = f"[{number(contrast.ci_low, signed=True)}, {number(contrast.ci_high, signed=True)}]"
    p = contrast.p_adjusted
    return [
        named(report, contrast.arm),
        _label(contrast.metric),
        number(contrast.difference, signed=True),
        interval,
        "–" if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}").replace("<", "&lt;"),
        number(contrast.effect_size, 2, signed=True),
        f"{contrast.wins} / {contrast.ties} / {contrast.losses}",
        html.escape(contrast.verdict),
    ]


def prompt_table(report: Report) -> str:
    """Write the primaries prompt by prompt."""
    shown = [(metric, arm) for metric in PRIMARIES for arm in report.arms]
    head = ["prompt", *(f"{named(report, arm.name)}<br>{_label(metric)}" for metric, arm in shown)]
    rows = [
        [
            f"{index} · {html.escape(_shortened(prompt))}",
            *(number(arm.per_prompt[metric][index]) for metric, arm in shown),
        ]
        for index, prompt in enumerate(report.prompts)
    ]
    return table(head, rows)


def _shortened(text: str, most: int = 70) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def curve_table(report: Report, place: str, start: int, curves: Sequence[Sequence[float]]) -> str:
    """Write a curve of each arm.

    Args:
        report: names the arms.
        place: what a row is.
        start: number of the first row.
        curves: of the arms, in their order; they may end at different places.
    """
    head = [place, *(named(report, arm.name) for arm in report.arms)]
    rows = [
        [str(start + row), *(number(curve[row]) if row < len(curve) else "–" for curve in curves)]
        for row in range(max(map(len, curves), default=0))
    ]
    return table(head, rows)


def ending_table(report: Report) -> str:
    """Write what became of each arm's samples."""
    reasons = sorted({reason for arm in report.arms for reason in arm.finish_reasons})
    head = ["arm", "attempted", "completed", "failed", "empty", "short of the budget", *map(html.escape, reasons)]
    rows = [
        [
            named(report, arm.name),
            *(f"{value:,}" for value in arm.counts.model_dump().values()),
            *(f"{arm.finish_reasons.get(reason, 0):,}" for reason in reasons),
        ]
        for arm in report.arms
    ]
    return table(head, rows)


def parameters(report: Report) -> str:
    """Write the parameters in force, those in which arms differ first and marked."""
    own = [{"model": arm.model, "framework": arm.framework, **arm.resolved} for arm in report.arms]
    names = list(dict.fromkeys(name for parameters in own for name in parameters))
    values = {name: [plain(parameters.get(name)) for parameters in own] for name in names}
    differing = [name for name in names if len(set(values[name])) > 1]
    equal = [name for name in names if name not in differing]
    head = ["parameter", *(named(report, arm.name) for arm in report.arms)]

    def rows(names: Sequence[str]) -> list[list[str]]:
        return [[html.escape(name), *map(html.escape, values[name])] for name in names]

    same = table(["parameter", "all arms"], [row[:2] for row in rows(equal)])
    return (table(head, rows(differing), marked=True) if differing else "") + folded("equal in all arms", same)
