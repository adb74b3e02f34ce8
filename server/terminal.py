"""What every command shows: progress bars, and notes beside the output."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from server.keys import is_loopback


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


def announce(host: str, port: int, models: Sequence[str], *, with_keys: bool) -> None:
    """Say on standard error where the server will answer, and who else can reach it."""
    address = f"[{host}]" if ":" in host else host
    note(f"Kelvin loads {', '.join(models)} and answers on http://{address}:{port}")
    if with_keys:
        note("Kelvin asks for a key: Authorization: Bearer KEY")
    elif not is_loopback(host):
        note("Kelvin asks for no key: whoever reaches this address may use it. README.md, Security.")
