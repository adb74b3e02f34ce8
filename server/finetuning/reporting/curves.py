"""Curves of a fine-tune's report: what every epoch did, with the best one marked."""

from collections.abc import Sequence

import plotly.graph_objects as go

from server.finetuning.outcome import Epoch, Outcome
from server.finetuning.plan import TemperaturePlan
from server.finetuning.reporting.figures import BLUE, GREEN, PINK, RED, log_ticks
from server.reports.drawing import FAINT, PALETTE, sized

HEIGHT = 270
Line = tuple[str, Sequence[float], str, str]  # name, values, colour, dash


def temperature(outcome: Outcome, plan: TemperaturePlan) -> go.Figure:
    """Show the temperature of the loss at the end of each epoch."""
    values = [epoch.temperature for epoch in outcome.epochs]
    figure = _curve(outcome, [("temperature", values, RED, "solid")], "{y:.4g}")
    if plan.per == "epoch":
        figure.update_traces(line_shape="hvh", selector={"mode": "lines+markers"})
    figure.update_yaxes(type="log", title="temperature of the loss", **log_ticks(values))
    return _one(figure)


def learning_rate(outcome: Outcome) -> go.Figure:
    """Show the learning rate at the end of each epoch, coupling, warm-up and decay included."""
    values = [epoch.learning_rate for epoch in outcome.epochs]
    figure = _curve(outcome, [("learning rate", values, PALETTE[4], "solid")], "{y:.3g}")
    figure.update_yaxes(title="learning rate", rangemode="tozero", tickformat=".1~e")
    return _one(figure)


def losses(outcome: Outcome) -> go.Figure:
    """Show the training loss at the training temperature, and at temperature 1."""
    own: list[Line] = [
        ("at T(t)", [epoch.loss for epoch in outcome.epochs], RED, "solid"),
        ("at T = 1", [epoch.loss_at_one for epoch in outcome.epochs], BLUE, "dash"),
    ]
    figure = _curve(outcome, own, "{y:.4f}")
    figure.update_yaxes(title="training loss, nats", rangemode="tozero")
    return figure


def validation_nll(outcome: Outcome) -> go.Figure:
    """Show the validation NLL at temperature 1, by which epochs are compared, and at the training temperature."""
    own: list[Line] = [
        ("at T(t)", [epoch.validation_nll_at_training for epoch in outcome.epochs], RED, "solid"),
        ("at T = 1", [epoch.validation_nll for epoch in outcome.epochs], BLUE, "dash"),
    ]
    figure = _curve(outcome, own, "{y:.4f}")
    figure.update_yaxes(title="validation NLL, nats", rangemode="tozero")
    return figure


def accuracy(outcome: Outcome) -> go.Figure:
    """Show validation accuracy and macro-F1."""
    own: list[Line] = [
        ("accuracy", [epoch.validation_accuracy for epoch in outcome.epochs], GREEN, "solid"),
        ("macro-F1", [epoch.validation_macro_f1 for epoch in outcome.epochs], PINK, "dash"),
    ]
    figure = _curve(outcome, own, "{y:.3f}")
    figure.update_yaxes(title="validation accuracy", tickformat=".0%")
    return figure


def calibration_error(outcome: Outcome) -> go.Figure:
    """Show the validation part's expected calibration error at temperature 1."""
    values = [epoch.validation_ece for epoch in outcome.epochs]
    figure = _curve(outcome, [("ECE at T = 1", values, BLUE, "dash")], "{y:.4f}")
    figure.update_yaxes(title="validation ECE at T = 1", tickformat=".0%", rangemode="tozero")
    return _one(figure)


def _curve(outcome: Outcome, lines: Sequence[Line], hover: str) -> go.Figure:
    figure = go.Figure()
    numbers = [epoch.number for epoch in outcome.epochs]
    for name, values, colour, dash in lines:
        figure.add_scatter(
            x=numbers,
            y=values,
            mode="lines+markers",
            name=name,
            line={"color": colour, "dash": dash, "width": 2.2},
            marker={"size": [10 if epoch.number == outcome.best_epoch else 5 for epoch in outcome.epochs]},
            hovertemplate="epoch %{x}: %" + hover + "<extra>" + name + "</extra>",
        )
    figure.add_vline(x=outcome.best_epoch, line={"color": FAINT, "width": 1.5, "dash": "dot"})
    figure.add_annotation(
        x=outcome.best_epoch, y=1, yref="paper", text="best", showarrow=False, yanchor="bottom", font={"size": 11}
    )
    sized(figure, HEIGHT)
    late = outcome.best_epoch > (1 + _last(outcome.epochs)) / 2  # the legend keeps out of the mark's way
    figure.update_layout(legend={"x": 0 if late else 1, "xanchor": "left" if late else "right", "y": 1.04})
    figure.update_xaxes(title="epoch", range=[0.6, _last(outcome.epochs) + 0.4], **_ticks(_last(outcome.epochs)))
    return figure


def _last(epochs: Sequence[Epoch]) -> int:
    return epochs[-1].number


def _ticks(last: int) -> dict[str, int]:
    return {"dtick": max(1, -(-last // 10)), "tick0": 1}


def _one(figure: go.Figure) -> go.Figure:
    """Leave out the legend of a single line, whose axis names it."""
    figure.update_layout(showlegend=False)
    return figure
