"""kelvin models list | pull | path: the models on disk."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from server import terminal
from server.options import JsonOption, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from server.models.registry import ModelEntry, Registry

NameArgument = Annotated[str, typer.Argument(help="A built-in model, a folder under the models root, or a hub id.")]
MEBIBYTE = 2**20

app = typer.Typer(help="List, fetch and find models.")


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the models that are on disk."""
    entries = _open_registry().list()
    if as_json:
        print(json.dumps([{**asdict(entry), "path": str(entry.path)} for entry in entries]))
    elif entries:
        _show(entries)
    else:
        terminal.note("no models yet; fetch the built-in one with: kelvin models pull smollm2")


@app.command()
def pull(name: NameArgument, as_json: JsonOption = False) -> None:
    """Fetch a model, unless it is there already, and print its folder."""
    with terminal.progress_bars() as progress:
        folder = _open_registry().pull(name, progress)
    _print_path(name, folder, as_json=as_json)


@app.command()
def path(name: NameArgument, as_json: JsonOption = False) -> None:
    """Print the folder of a model that is on disk."""
    _print_path(name, _open_registry().path(name), as_json=as_json)


def _open_registry() -> "Registry":
    from server.models.registry import Registry

    return Registry(settings_of().models_dir)


def _print_path(name: str, folder: "Path", *, as_json: bool) -> None:
    print(json.dumps({"name": name, "path": str(folder)}) if as_json else folder)


def _show(entries: "Sequence[ModelEntry]") -> None:
    """Print a table of the models on disk."""
    table = Table("name", "MiB", "source", "folder", box=None)
    for entry in entries:
        table.add_row(entry.name, f"{entry.size_bytes / MEBIBYTE:.0f}", entry.source, str(entry.path))
    Console().print(table)
