"""What `kelvin finetune` shows: events as they come, figures before and after calibration, the list of jobs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from server.finetuning.outcome import Outcome
from server.jobs.job import Event
from server.terminal import note


def show_event(event: Event) -> None:
    """Print what happened to a job on standard error, above the bars."""
    style = {"info": "dim", "warn": "yellow", "error": "red"}[event.level]
    Console(stderr=True, highlight=False).print(event.message, style=style, markup=False, soft_wrap=True)


def show_bad_lines(bad_lines: Sequence[Mapping[str, Any]]) -> None:
    """Print every bad line that a check has listed, on standard error."""
    from server.finetuning.jobs.validation import place_of

    for line in bad_lines:
        note(place_of(line))


def show_outcome(classifier: str, outcome: Outcome) -> None:
    """Print a fine-tune's figures on the test part before and after calibration, and what to know of them."""
    console = Console(highlight=False)
    names = ("accuracy", "macro_f1", "nll", "brier", "ece")
    table = Table("test part", "temperature", *names, box=None)
    for label, judged in (("before", outcome.before), ("after", outcome.after)):
        figures = [f"{getattr(judged.figures, name):.4f}" for name in names]
        table.add_row(label, f"{judged.temperature:.3f}", *figures)
    console.print(table)
    for diagnosis in outcome.diagnoses:
        note(f"{diagnosis.level}: {diagnosis.message}")
    for warning in outcome.warnings:
        note(f"note: {warning}")
    console.print(classifier, markup=False)


def show_finetunes(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of fine-tunes, newest first."""
    ids = Column("id", no_wrap=True, min_width=max(len(job["id"]) for job in jobs))  # half an id finds nothing
    table = Table(ids, "status", "done", "method", "accuracy", Column("classifier or error", overflow="fold"), box=None)
    for job in jobs:
        last = job["classifier"] or (job["error"] or {}).get("message", "")
        accuracy = "" if job["metrics"] is None else f"{job['metrics']['accuracy']:.3f}"
        done = f"{100 * job['progress']['fraction']:.0f} %"
        table.add_row(job["id"], job["status"], done, job["method_name"], accuracy, Text(last))
    Console().print(table)
