"""What the command line shows: progress bars, samples as they grow, tables."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from server.keys import is_loopback

if TYPE_CHECKING:
    from server.api.completion import Delta
    from server.comparison.result import Interval, Report
    from server.models.registry import ModelEntry
    from server.models.tokenizer import Tokenizer

MEBIBYTE = 2**20


def note(message: str) -> None:
    """Print a line beside the output: on standard error, so that standard output can be piped."""
    Console(stderr=True, highlight=False).print(message, style="dim", markup=False, soft_wrap=True)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, float], None]]:
    """Show a bar for each step of something slow.

    Yields:
        A function of a step's label and the fraction of it that is done, 0 to 1.
    """
    bars = Progress(console=Console(stderr=True))
    steps: dict[str, TaskID] = {}

    def report(label: str, fraction: float) -> None:
        if label not in steps:
            bars.start()  # no earlier, so that nothing appears where nothing is slow
            steps[label] = bars.add_task(escape(label), total=1.0)
        bars.update(steps[label], completed=fraction)

    try:
        yield report
    finally:
        if steps:
            bars.stop()


@contextmanager
def growing_samples(n: int) -> Iterator[Callable[[int, str], None]]:
    """Show samples while they grow: one as plain text, several each in a panel of its own.

    Args:
        n: number of samples; 0 shows nothing.

    Yields:
        A function of a sample's index and the piece of text to add to it.
    """
    if n == 0:
        yield lambda index, piece: None
    elif n == 1:
        yield lambda index, piece: print(piece, end="", flush=True)
        print()
    else:
        texts = [Text() for _ in range(n)]
        panels = (Panel(text, title=f"sample {index}", title_align="left") for index, text in enumerate(texts))

        def write(index: int, piece: str) -> None:
            texts[index].append(piece)

        console = Console()
        with Live(Group(*panels), console=console):
            yield write
        if not console.is_terminal:
            console.line()  # a terminal has had its own


def show_endings(samples: "Sequence[Delta]", seed: int) -> None:
    """Say on standard error with which seed the samples were drawn, and how each ended."""
    endings = ", ".join(f"{len(sample.token_ids)} tokens ({sample.finish_reason})" for sample in samples)
    note(f"seed {seed}: {endings}")


def show_logprobs(samples: "Sequence[Delta]", tokenizer: "Tokenizer") -> None:
    """Print a table of each sample's tokens and their probabilities, where these were asked for."""
    for index, sample in enumerate(samples):
        if not sample.logprobs:
            continue
        table = Table("token", "logprob", "entropy", "kept", "most probable", title=f"sample {index}", box=None)
        for token_id, token in zip(sample.token_ids, sample.logprobs, strict=True):
            best = " ".join(
                f"{tokenizer.token_text(other)!r} {logprob:.2f}"
                for other, logprob in zip(token.top_ids, token.top_logprobs, strict=True)
            )
            text = Text(repr(tokenizer.token_text(token_id)))
            table.add_row(text, f"{token.logprob:.2f}", f"{token.entropy:.2f}", str(token.kept), Text(best))
        Console().print(table)


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


def announce(host: str, port: int, models: Sequence[str], *, with_keys: bool) -> None:
    """Say on standard error where the server will answer, and who else can reach it."""
    address = f"[{host}]" if ":" in host else host
    note(f"Kelvin loads {', '.join(models)} and answers on http://{address}:{port}")
    if with_keys:
        note("Kelvin asks for a key: Authorization: Bearer KEY")
    elif not is_loopback(host):
        note("Kelvin asks for no key: whoever reaches this address may use it. README.md, Security.")


def show_models(entries: "Sequence[ModelEntry]") -> None:
    """Print a table of the models on disk."""
    table = Table("name", "MiB", "source", "folder", box=None)
    for entry in entries:
        table.add_row(entry.name, f"{entry.size_bytes / MEBIBYTE:.0f}", entry.source, str(entry.path))
    Console().print(table)
