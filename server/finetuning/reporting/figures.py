"""Figures of a fine-tune's report: how probabilities meet the truth, and which classes are taken for which."""

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from server.finetuning.outcome import Judged, Outcome, Search
from server.reports.drawing import FAINT, PALETTE, sized

BLUE, RED, GREEN, PINK = PALETTE[:4]
PARTS = ("train", "validation", "calibration", "test")
MOST_WRITTEN = 30  # classes whose counts are written into their cells
_Z = 1.959964
_NONE_TO_BLUE = [[0, "rgba(0,114,178,0.06)"], [1, "rgba(0,114,178,0.80)"]]
_NONE_TO_RED = [[0, "rgba(213,94,0,0)"], [0.02, "rgba(213,94,0,0.14)"], [1, "rgba(213,94,0,0.90)"]]


def reliability(judged: Judged, colour: str, most: int) -> go.Figure:
    """Show how often answers of each confidence are right, and how many there are of them.

    Args:
        judged: the test part at a temperature.
        colour: of the points.
        most: rows in the fullest bin of all figures beside, so that their counts share a scale.
    """
    means, hits, counts = zip(*judged.reliability, strict=True)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.06)
    ends = [wilson(hit, count) for hit, count in zip(hits, counts, strict=True)]
    line = {"color": "#888", "dash": "dot", "width": 1}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", row=1, col=1)
    figure.add_scatter(
        x=means,
        y=hits,
        mode="lines+markers",
        line={"color": colour, "width": 1.5},
        marker={"size": 8, "color": colour},
        error_y={
            "symmetric": False,
            "array": [high - hit for (_, high), hit in zip(ends, hits, strict=True)],
            "arrayminus": [hit - low for (low, _), hit in zip(ends, hits, strict=True)],
            "color": colour,
            "thickness": 1.2,
            "width": 3,
        },
        customdata=counts,
        hovertemplate="said %{x:.3f}, right %{y:.3f}, %{customdata:,} rows<extra></extra>",
        row=1,
        col=1,
    )
    width = 1 / 15 * 0.86
    figure.add_bar(
        x=[_middle(mean) for mean in means],
        y=counts,
        width=[width] * len(counts),
        marker={"color": colour, "opacity": 0.55},
        hovertemplate="%{y:,} rows<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_layout(showlegend=False)
    sized(figure, 460)
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".1f")
    figure.update_xaxes(title="confidence: probability of the answer", row=2, col=1)
    figure.update_yaxes(title="answers that are right", range=[-0.02, 1.04], tickformat=".0%", row=1, col=1)
    figure.update_yaxes(title="rows", range=[0, 1.08 * most], nticks=4, row=2, col=1)
    return figure


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927).

    Args:
        share: in [0, 1].
        count: it is a share of, ≥ 1.
    """
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    reach = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return min(middle - reach, share), max(middle + reach, share)  # they may touch, but for rounding


def _middle(mean: float, bins: int = 15) -> float:
    """Return the middle of the bin (low, high] of a confidence."""
    return (max(math.ceil(mean * bins), 1) - 0.5) / bins


def confusion(outcome: Outcome) -> go.Figure:
    """Show which classes are taken for which: hits in blue, mistakes in red, as shares of the class's rows."""
    names, counts = shortened(outcome.classes), outcome.confusion
    shares = [[own / max(1, sum(row)) for own in row] for row in counts]
    places = list(range(len(names)))
    hits: list[list[float | None]] = [[row[j] if i == j else None for j in places] for i, row in enumerate(shares)]
    errors: list[list[float | None]] = [[None if i == j else row[j] for j in places] for i, row in enumerate(shares)]
    figure = go.Figure()
    worst = max((own or 0 for row in errors for own in row), default=0)
    said = [[f"{own:,} of {sum(row):,}" for own in row] for row in counts]
    for values, scale, most in ((hits, _NONE_TO_BLUE, 1.0), (errors, _NONE_TO_RED, max(worst, 0.05))):
        figure.add_heatmap(
            z=values,
            x=places,
            y=places,
            zmin=0,
            zmax=most,
            colorscale=scale,
            showscale=False,
            xgap=1,
            ygap=1,
            hoverongaps=False,
            customdata=said,
            hovertemplate="%{y} taken for %{x}: %{customdata}<extra></extra>",
        )
    if len(names) <= MOST_WRITTEN:
        written = [(j, i, own) for i, row in enumerate(counts) for j, own in enumerate(row) if own]
        x, y, text = zip(*written, strict=True)
        size = 12 if len(names) <= 12 else 10
        figure.add_scatter(
            x=x, y=y, text=[f"{own:,}" for own in text], mode="text", textfont={"size": size}, hoverinfo="skip"
        )
    ticks = {"tickvals": places, "ticktext": names, "showgrid": False, "range": [-0.5, len(names) - 0.5]}
    figure.update_layout(showlegend=False)
    sized(figure, max(320, min(1200, 120 + 30 * len(names))))
    figure.update_xaxes(**ticks, title="taken for", tickangle=0 if len(names) <= 6 else -45)
    figure.update_yaxes(**ticks | {"range": [len(names) - 0.5, -0.5]})
    return figure


def shortened(names: Sequence[str], most: int = 22) -> list[str]:
    """Return names of classes as figures write them: escaped, not too long, each its own."""
    cut = [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]
    return [html.escape(name if cut.count(name) == 1 else f"{name} ({place})") for place, name in enumerate(cut)]


def counts(outcome: Outcome) -> go.Figure:
    """Show how many rows of each class each part has."""
    names, figure = shortened(outcome.classes), go.Figure()
    for part, colour in zip(PARTS, (BLUE, PALETTE[5], PALETTE[4], GREEN), strict=True):
        if not sum(outcome.counts[part]):
            continue
        figure.add_bar(
            y=list(range(len(names))),
            x=outcome.counts[part],
            orientation="h",
            name=part,
            marker={"color": colour, "opacity": 0.85},
            customdata=names,
            hovertemplate="%{customdata}: %{x:,} rows<extra>" + part + "</extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.25)
    sized(figure, max(220, min(1200, 130 + 24 * len(names))))
    figure.update_layout(legend={"traceorder": "normal"})
    figure.update_xaxes(title="rows", rangemode="tozero")
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5], showgrid=False
    )
    return figure


def search(found: Search) -> go.Figure:
    """Show what every setting tried was worth against its temperature; temperature 1 and the best one are marked."""
    tried = sorted(
        (own for own in found.trials if own.value is not None), key=lambda own: own.parameters["temperature"]
    )
    figure = go.Figure()
    first = found.trials[0]
    figure.add_scatter(
        x=[own.parameters["temperature"] for own in tried],
        y=[own.value for own in tried],
        mode="markers",
        marker={"size": 9, "color": BLUE, "opacity": 0.85},
        error_y={"array": [own.spread or 0 for own in tried], "color": BLUE, "thickness": 1.2, "width": 3},
        customdata=[", ".join(f"{name} {_brief(value)}" for name, value in own.parameters.items()) for own in tried],
        hovertemplate="%{y:.4f}<br>%{customdata}<extra></extra>",
    )
    marks = [(first, "circle-open", PALETTE[7], "T = 1", "bottom center")]
    if found.best:
        marks.append((found.trials[found.best], "star", RED, "best", "top center"))
    for own, symbol, colour, text, place in marks:
        figure.add_scatter(
            x=[own.parameters["temperature"]],
            y=[own.value],
            mode="markers+text",
            text=[f"<b>{text}</b>"],
            textposition=place,
            marker={"symbol": symbol, "size": 17, "color": colour, "line": {"width": 2}},
            hoverinfo="skip",
        )
    figure.add_vline(x=1, line={"color": FAINT, "dash": "dot", "width": 1.5})
    for own in found.trials:
        if own.value is None:
            x = own.parameters["temperature"]
            line = {"color": PALETTE[7], "width": 1.5}
            figure.add_shape(type="line", x0=x, x1=x, y0=0, y1=0.05, yref="paper", line=line)
    figure.update_layout(showlegend=False)
    sized(figure, 400)
    name = "NLL after calibration, nats → worse" if found.objective == "nll" else "macro-F1 → better"
    temperatures = [own.parameters["temperature"] for own in found.trials]
    reach = [math.log10(end) for end in (min(temperatures) / 1.15, max(temperatures) * 1.15)]
    figure.update_xaxes(type="log", title="temperature of the loss", range=reach, **log_ticks(temperatures))
    figure.update_yaxes(title=name)
    return figure


def log_ticks(values: Sequence[float]) -> dict[str, list[float] | list[str]]:
    """Return ticks at 1, 2 and 5 of each power of ten in reach of values above 0; where too few, at the ends."""
    low, high = min(values) / 1.3, max(values) * 1.3
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [lead * 10.0**power for power in powers for lead in (1, 2, 5) if low <= lead * 10.0**power <= high]
    if len(ticks) < 2:
        ticks = sorted({min(values), max(values)})
    return {"tickvals": ticks, "ticktext": [f"{tick:.3g}" for tick in ticks]}


def _brief(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))
