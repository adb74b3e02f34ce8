"""What kelvin generate shows: samples as they grow, their tokens, and how they ended."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from server.terminal import note

if TYPE_CHECKING:
    from server.api.completion import Delta
    from server.models.tokenizer import Tokenizer


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
