"""Figures of a report: each a Plotly figure that takes its colours of text and grid from the page."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from server.comparison.result import ArmResult, Interval, Report

# Okabe and Ito 2008: told apart by every kind of colour vision, on white and on black.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C00", "#808080")
DASHES = ("solid", "dash")  # the second round of colours is dashed
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down")


def frontier(report: Report) -> go.Figure:
    """Show what each arm's diversity costs in coherence: a point an arm, with both intervals.

    Arms that differ by their temperature alone are joined in its order.
    """
    figure = go.Figure()
    placed = [arm for arm in report.arms if None not in _position(arm)]
    if len(placed) > 2 and swept(placed):
        ordered = sorted(placed, key=lambda arm: float(arm.resolved["temperature"]))
        x, y = zip(*map(_position, ordered), strict=True)
        figure.add_scatter(
            x=x, y=y, mode="lines", line={"color": "#888", "width": 1}, showlegend=False, hoverinfo="skip"
        )
    for number, arm in enumerate(report.arms):
        x, y = _position(arm)
        if x is None or y is None:
            continue
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers+text",
            name=arm.name,
            text=[arm.name],
            textposition="top center",
            marker={"color": colour(number), "size": 11, "symbol": SYMBOLS[number % len(SYMBOLS)]},
            error_x=_bar(x, arm.intervals["surprise"], number),
            error_y=_bar(y, arm.intervals["pairwise_distance"], number),
            showlegend=False,
        )
    figure.update_xaxes(title="surprise, nats a token (less is more coherent)")
    figure.update_yaxes(title="distance between samples (more is more diverse)")
    return _sized(figure, 460)


def per_prompt(report: Report) -> go.Figure:
    """Show both primaries prompt by prompt: a dot a prompt and arm, those of one prompt joined."""
    titles = ("distance", "surprise, nats a token")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles)
    names = [arm.name for arm in report.arms]
    for column, metric in enumerate(("pairwise_distance", "surprise"), start=1):
        for prompt in range(len(report.prompts)):
            values = [arm.per_prompt[metric][prompt] for arm in report.arms]
            line = {"color": "rgba(128, 128, 128, 0.35)", "width": 1}
            figure.add_scatter(x=names, y=values, mode="lines", line=line, hoverinfo="skip", row=1, col=column)
        for number, arm in enumerate(report.arms):
            figure.add_scatter(
                x=[arm.name] * len(report.prompts),
                y=arm.per_prompt[metric],
                mode="markers",
                marker={"color": colour(number), "size": 7, "symbol": SYMBOLS[number % len(SYMBOLS)]},
                hovertemplate="prompt %{customdata}: %{y:.3f}<extra>" + "%{x}</extra>",
                customdata=list(range(len(report.prompts))),
                row=1,
                col=column,
            )
    figure.update_layout(showlegend=False)
    return _sized(figure, 380)


def entropy_by_position(report: Report) -> go.Figure:
    """Show how certain each arm is along its answers, as far as half of them go."""
    figure = _lines(report, [arm.entropy_by_position for arm in report.arms], start=0)
    figure.update_xaxes(title="position in the answer, tokens")
    figure.update_yaxes(title="entropy of the draw, nats", rangemode="tozero")
    return _sized(figure, 340)


def lengths(report: Report) -> go.Figure:
    """Show what share of each arm's answers is at least so long."""
    figure = go.Figure()
    for number, arm in enumerate(report.arms):
        ordered = sorted(arm.lengths)
        shares = [1 - place / len(ordered) for place in range(len(ordered))]
        if ordered:
            ordered, shares = [0, *ordered, ordered[-1]], [1.0, *shares, 0.0]
        figure.add_scatter(x=ordered, y=shares, mode="lines", name=arm.name, line=_line(number) | {"shape": "vh"})
    figure.update_xaxes(title="length, tokens", rangemode="tozero")
    figure.update_yaxes(title="answers at least so long", range=[0, 1.02], tickformat=".0%")
    return _sized(figure, 340)


def rarefaction(report: Report) -> go.Figure:
    """Show how many different answers so many samples hold, in expectation."""
    figure = _lines(report, [arm.rarefaction for arm in report.arms], start=1)
    most = max((len(arm.rarefaction) for arm in report.arms), default=0)
    line = {"color": "#888", "dash": "dot", "width": 1}
    figure.add_scatter(x=[1, most], y=[1, most], mode="lines", name="all different", line=line, hoverinfo="skip")
    figure.update_xaxes(title="samples of a prompt")
    figure.update_yaxes(title="different answers", rangemode="tozero")
    return _sized(figure, 340)


def swept(arms: Sequence[ArmResult]) -> bool:
    """Tell whether arms differ by their temperature alone, and have one each."""
    rest = [{**arm.resolved, "temperature": None, "seed": None, "model": arm.model} for arm in arms]
    temperatures = {arm.resolved.get("temperature") for arm in arms}
    return all(own == rest[0] for own in rest) and len(temperatures) == len(arms)


def colour(number: int) -> str:
    """Return an arm's colour by its number."""
    return PALETTE[number % len(PALETTE)]


def _position(arm: ArmResult) -> tuple[float | None, float | None]:
    return arm.metrics["surprise"], arm.metrics["pairwise_distance"]


def _bar(mean: float, interval: Interval | None, number: int) -> dict[str, Any]:
    if interval is None:
        return {"visible": False}
    spread = {"array": [interval.high - mean], "arrayminus": [mean - interval.low]}
    return {"type": "data", "symmetric": False, "color": colour(number), "thickness": 1.5, **spread}


def _line(number: int) -> dict[str, Any]:
    return {"color": colour(number), "dash": DASHES[number // len(PALETTE) % len(DASHES)], "width": 2}


def _lines(report: Report, values: Sequence[Sequence[float]], start: int) -> go.Figure:
    figure = go.Figure()
    for number, (arm, own) in enumerate(zip(report.arms, values, strict=True)):
        places = list(range(start, start + len(own)))
        figure.add_scatter(x=places, y=list(own), mode="lines", name=arm.name, line=_line(number))
    return figure


def _sized(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        hovermode="closest",
        legend={"orientation": "h", "y": 1.12},
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False, automargin=True)
    return figure
