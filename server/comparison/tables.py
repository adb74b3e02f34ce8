"""Tables of a report, as HTML: the numbers behind its figures."""

import html
from collections.abc import Iterable, Sequence

from server.comparison import figures
from server.comparison.metrics import METRICS
from server.comparison.result import ArmResult, Contrast, Interval, Report


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, marked: Sequence[bool] = (), kind: str = "") -> str:
    """Write a table; columns of numbers are set to the right.

    Args:
        head: HTML of the columns' names.
        rows: HTML of their cells.
        marked: which rows stand out.
        kind: class of the table.
    """
    rows = list(rows)
    numeric = [place > 0 and all(_is_number(row[place]) for row in rows) for place in range(len(head))]
    classes = [' class="number"' if own else "" for own in numeric]
    top = "".join(f"<th{own}>{cell}</th>" for own, cell in zip(classes, head, strict=True))
    body = ""
    for number, row in enumerate(rows):
        differs = ' class="differs"' if number < len(marked) and marked[number] else ""
        body += (
            f"<tr{differs}>"
            + "".join(f"<td{own}>{cell}</td>" for own, cell in zip(classes, row, strict=True))
            + "</tr>"
        )
    return f'<div class="scroll"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _is_number(cell: str) -> bool:
    return not cell.strip("0123456789.,+−–[]&lt;/ ") if cell else True


def _number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def _with_interval(value: float | None, interval: Interval | None) -> str:
    if value is None or interval is None:
        return _number(value)
    return f"{_number(value)} [{_number(interval.low)}, {_number(interval.high)}]"


def named(report: Report, arm: str) -> str:
    """Write an arm's name beside its colour."""
    number = [own.name for own in report.arms].index(arm)
    return f'<span class="dot" style="background:{figures.colour(number)}"></span>{html.escape(arm)}'


def arm_table(report: Report) -> str:
    """Write every metric of every arm, with its interval."""
    head = ["metric", *(named(report, arm.name) for arm in report.arms)]
    rows = [
        [_label(metric), *(_with_interval(arm.metrics[metric], arm.intervals[metric]) for arm in report.arms)]
        for metric in METRICS
    ]
    return table(head, rows)


def _label(metric: str) -> str:
    label = METRICS[metric].label
    return html.escape(f"{label.name}, {label.unit}" if label.unit else label.name)


def contrast_tables(report: Report) -> str:
    """Write the contrasts of the primaries, and those of all other metrics folded up."""
    primary = [contrast for contrast in report.comparisons if contrast.primary]
    rest = [contrast for contrast in report.comparisons if not contrast.primary]
    more = f"<details><summary>all other metrics (exploratory)</summary>{_contrast_table(report, rest)}</details>"
    return _contrast_table(report, primary) + (more if rest else "")


def _contrast_table(report: Report, contrasts: Sequence[Contrast]) -> str:
    head = ["arm", "metric", "difference", "interval", "p", "d<sub>z</sub>", "wins / ties / losses", "in words"]
    return table(head, [_contrast_row(report, contrast) for contrast in contrasts])


def _contrast_row(report: Report, contrast: Contrast) -> list[str]:
    interval = "–"
    if contrast.ci_low is not None and contrast.ci_high is not None:
        interval = f"[{_number(contrast.ci_low, signed=True)}, {_number(contrast.ci_high, signed=True)}]"
    p = contrast.p_adjusted
    return [
        named(report, contrast.arm),
        _label(contrast.metric),
        _number(contrast.difference, signed=True),
        interval,
        "–" if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}").replace("<", "&lt;"),
        _number(contrast.effect_size, 2, signed=True),
        f"{contrast.wins} / {contrast.ties} / {contrast.losses}",
        html.escape(contrast.verdict),
    ]


def prompt_table(report: Report) -> str:
    """Write the primaries prompt by prompt."""
    head = ["prompt"] + [
        f"{named(report, arm.name)} {name}" for name in ("distance", "surprise") for arm in report.arms
    ]
    rows = [
        [html.escape(_shortened(prompt))]
        + [
            _number(arm.per_prompt[metric][index])
            for metric in ("pairwise_distance", "surprise")
            for arm in report.arms
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
        [str(start + row), *(_number(curve[row]) if row < len(curve) else "–" for curve in curves)]
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


def parameters(arms: Sequence[ArmResult]) -> str:
    """Write the parameters in force, those in which arms differ first and marked."""
    values = {name: [arm.resolved.get(name) for arm in arms] for name in arms[0].resolved}
    values = {"model": [arm.model for arm in arms], "framework": [arm.framework for arm in arms], **values}
    differing = [name for name, own in values.items() if any(value != own[0] for value in own)]
    rest = [name for name in values if name not in differing]
    head = ["parameter", *(html.escape(arm.name) for arm in arms)]

    def rows(names: Sequence[str]) -> list[list[str]]:
        return [[html.escape(name), *(html.escape(str(value)) for value in values[name])] for name in names]

    same = f"<details><summary>equal in all arms</summary>{table(head, rows(rest))}</details>"
    return (table(head, rows(differing), marked=[True] * len(differing)) if differing else "") + same
