"""Figures of a report: each a Plotly figure that takes its colours of text and grid from the page."""

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from server.comparison.metrics import METRICS
from server.comparison.result import ArmResult, Interval, Metric, Report
from server.reports.drawing import COLD_TO_HOT, FAINT, PALETTE, sized

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # as many as share no factor with the colours
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down")


def frontier(report: Report) -> go.Figure:
    """Show what each arm's diversity costs in coherence: a point an arm, with both intervals.

    Arms that differ by their temperature alone are joined in its order.
    """
    figure = go.Figure()
    placed = [arm for arm in report.arms if None not in _position(arm)]
    if len(placed) > 2 and swept(placed):
        x, y = zip(*map(_position, sorted(placed, key=_temperature)), strict=True)
        figure.add_scatter(x=x, y=y, mode="lines", line={"color": FAINT, "width": 1.5}, hoverinfo="skip")
    by_surprise = sorted(placed, key=lambda arm: arm.metrics["surprise"] or 0.0)
    for arm, shade, symbol in zip(report.arms, colours(report), _symbols(report), strict=True):
        x, y = _position(arm)
        if x is None or y is None:
            continue
        below = by_surprise.index(arm) % 2 == 0  # neighbours' names keep out of each other's way
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers+text",
            name=html.escape(arm.name),
            text=[f" {html.escape(arm.name)} "],
            textposition="bottom right" if below else "top left",
            cliponaxis=False,
            marker={"color": shade, "size": 12, "symbol": symbol},
            error_x=_bar(x, arm.intervals["surprise"], shade),
            error_y=_bar(y, arm.intervals["pairwise_distance"], shade),
            hovertemplate="surprise %{x:.3f}, distance %{y:.3f}",
        )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title="surprise, nats a token → less coherent")
    figure.update_yaxes(title="distance → more diverse")
    return sized(figure, 480, right=130)


def per_prompt(report: Report, metric: Metric) -> go.Figure:
    """Show a metric prompt by prompt: a dot a prompt and arm, those of one prompt joined.

    Args:
        report: of a comparison.
        metric: which.
    """
    figure = go.Figure()
    names = [html.escape(arm.name) for arm in report.arms]
    rows = list(zip(*(arm.per_prompt[metric] for arm in report.arms), strict=True))
    joined = {"x": [*names, None] * len(rows), "y": [value for row in rows for value in (*row, None)]}
    figure.add_scatter(**joined, mode="lines", line={"color": FAINT, "width": 1}, hoverinfo="skip")
    for name, arm, shade, symbol in zip(names, report.arms, colours(report), _symbols(report), strict=True):
        figure.add_scatter(
            x=[name] * len(rows),
            y=arm.per_prompt[metric],
            mode="markers",
            marker={"color": shade, "size": 8, "symbol": symbol, "opacity": 0.85},
            hovertemplate="%{customdata}: %{y:.3f}<extra>%{x}</extra>",
            customdata=[f"{index} · {html.escape(prompt[:60])}" for index, prompt in enumerate(report.prompts)],
        )
    label = METRICS[metric].label
    figure.update_layout(showlegend=False)
    figure.update_xaxes(type="category", showgrid=False)  # a name such as 0.5 is no number
    figure.update_yaxes(title=", ".join(filter(None, (label.name, label.unit))))
    return sized(figure, 380)


def entropy_by_position(report: Report) -> go.Figure:
    """Show how certain each arm is along its answers, as far as half of them go."""
    figure = _lines(report, [arm.entropy_by_position for arm in report.arms], start=0)
    figure.update_xaxes(title="position in the answer, tokens")
    figure.update_yaxes(title="entropy of the draw, nats", rangemode="tozero")
    return sized(figure, 360)


def lengths(report: Report) -> go.Figure:
    """Show what share of each arm's answers is at least so long."""
    figure = go.Figure()
    for arm, line in zip(report.arms, _strokes(report), strict=True):
        ordered = sorted(arm.lengths)
        shares = [1 - place / len(ordered) for place in range(len(ordered))]
        if ordered:
            ordered, shares = [0, *ordered, ordered[-1]], [1.0, *shares, 0.0]
        figure.add_scatter(x=ordered, y=shares, mode="lines", name=html.escape(arm.name), line=line | {"shape": "vh"})
    figure.update_xaxes(title="length, tokens", rangemode="tozero")
    figure.update_yaxes(title="answers at least so long", range=[0, 1.03], tickformat=".0%")
    return sized(figure, 360)


def rarefaction(report: Report) -> go.Figure:
    """Show how many different answers so many samples hold, in expectation."""
    figure = _lines(report, [arm.rarefaction for arm in report.arms], start=1)
    most = max((len(arm.rarefaction) for arm in report.arms), default=0)
    line = {"color": "#888", "dash": "dot", "width": 1}
    figure.add_scatter(x=[1, most], y=[1, most], mode="lines", name="all different", line=line, hoverinfo="skip")
    figure.update_xaxes(title="samples of a prompt")
    figure.update_yaxes(title="different answers", rangemode="tozero")
    return sized(figure, 360)


def swept(arms: Sequence[ArmResult]) -> bool:
    """Tell whether arms differ by their temperature alone, and have one each."""
    rest = [
        {**arm.resolved, "temperature": None, "seed": None, "model": arm.model, "framework": arm.framework}
        for arm in arms
    ]
    temperatures = {arm.resolved.get("temperature") for arm in arms}
    return all(own == rest[0] for own in rest) and len(temperatures) == len(arms) and None not in temperatures


def colours(report: Report) -> list[str]:
    """Return each arm's colour: in the order of temperatures where these are all that differs, else any."""
    arms = report.arms
    if len(arms) < 3 or not swept(arms):
        return [PALETTE[number % len(PALETTE)] for number in range(len(arms))]
    ordered = sorted(map(_temperature, arms))
    places = [ordered.index(_temperature(arm)) / (len(arms) - 1) for arm in arms]
    shades: list[str] = sample_colorscale(COLD_TO_HOT, places)
    return shades


def _temperature(arm: ArmResult) -> float:
    return float(arm.resolved["temperature"])


def _position(arm: ArmResult) -> tuple[float | None, float | None]:
    return arm.metrics["surprise"], arm.metrics["pairwise_distance"]


def _bar(mean: float, interval: Interval | None, shade: str) -> dict[str, Any]:
    if interval is None:
        return {"visible": False}
    spread = {"array": [interval.high - mean], "arrayminus": [mean - interval.low]}
    return {"type": "data", "symmetric": False, "color": shade, "thickness": 1.5, **spread}


def _symbols(report: Report) -> list[str]:
    rounds = ("", "-open")
    return [
        SYMBOLS[number % len(SYMBOLS)] + rounds[number // len(SYMBOLS) % len(rounds)]
        for number in range(len(report.arms))
    ]


def _strokes(report: Report) -> list[dict[str, Any]]:
    return [
        {"color": shade, "dash": DASHES[number % len(DASHES)], "width": 2.2}
        for number, shade in enumerate(colours(report))
    ]


def _lines(report: Report, values: Sequence[Sequence[float]], start: int) -> go.Figure:
    figure = go.Figure()
    for arm, own, line in zip(report.arms, values, _strokes(report), strict=True):
        places = list(range(start, start + len(own)))
        figure.add_scatter(x=places, y=list(own), mode="lines", name=html.escape(arm.name), line=line)
    return figure
