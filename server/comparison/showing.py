"""What kelvin compare shows: the arms as a table, and what was found in words."""

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.terminal import note

if TYPE_CHECKING:
    from server.comparison.result import Interval, Report


def show_comparison(report: "Report") -> None:
    """Print a comparison's arms as a table, what it found in words, and what a reader must know."""
    shown = {"pairwise_distance": "distance", "surprise": "surprise", "distinct_2": "distinct-2",
             "distinct_k": "answers", "seq_rep_4": "repetition", "mean_length": "tokens"}  # fmt: skip
    table = Table("arm", box=None)
    for heading in shown.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in report.arms:
        table.add_row(Text(arm.name), *(_with_error(arm.metrics[name], arm.intervals[name]) for name in shown))
    console = Console(highlight=False)
    console.print(table)
    for sentence in report.verdict:
        console.print(sentence, markup=False)
    for warning in report.warnings:
        note(f"note: {warning}")
    note(f"seed {report.seed}")


def _with_error(value: float | None, interval: "Interval | None") -> str:
    """Write a mean and half of the width of its interval, as many digits of both as the latter bears."""
    if value is None:
        return "-"
    error = 0.0 if interval is None else (interval.high - interval.low) / 2
    if not error:
        return f"{value:.3g}"
    places = min(3, max(0, -math.floor(math.log10(error))))
    return f"{value:.{places}f} ±{error:.{places}f}"
