"""kelvin finetune: a fine-tune right here, with live bars; and the fine-tunes of the data directory."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from server import terminal
from server.errors import InvalidRequestError, KelvinError, NotFoundError, UnavailableError
from server.finetuning.cli.showing import show_bad_lines, show_event, show_finetunes, show_outcome
from server.finetuning.plan import Method, Plan
from server.options import JsonOption, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.finetuning.cli.local import Kept
    from server.finetuning.outcome import Outcome
    from server.jobs.job import Event, Job
    from server.settings import Settings


class _FileFirst(TyperGroup):
    """Takes `kelvin finetune FILE …` for `kelvin finetune run FILE …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` in front of what is no command."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_FileFirst, help="Fine-tune a classifier with a temperature-scaled loss, and look after it.")
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the fine-tune: ftjob-….")]
ReportOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as an HTML page.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Print what happens, epoch by epoch.")]


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="JSONL or CSV file of labelled rows.")],
    method: Annotated[Method, typer.Option(help="What is trained.")] = "linear_probe",
    temperature: Annotated[
        str | None, typer.Option(metavar="NUMBER|SCHEDULE:START:END", help="Of the loss.", show_default="1")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="ALGORITHM:TRIALS[:LOW:HIGH]", help="Try temperatures first.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows.", show_default="the method's")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another hyperparameter; may be repeated.")
    ] = None,
    per: Annotated[Literal["epoch", "step"], typer.Option(help="What the temperature changes with.")] = "epoch",
    lr_coupling: Annotated[
        Literal["none", "inverse_square", "bands"], typer.Option(help="What it does to the learning rate.")
    ] = "none",
    serving_temperature: Annotated[
        str | None, typer.Option(metavar="fitted|final|NUMBER", help="Served at.", show_default="fitted")
    ] = None,
    validation_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Rows for validation.")] = None,
    test_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Rows for the final test.")] = None,
    suffix: Annotated[str | None, typer.Option(help="Part of the classifier's name.")] = None,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Project of Weights & Biases to send its course to.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of splits, order and weights.")] = 0,
    model: Annotated[
        str | None, typer.Option(metavar="NAME[=PATH]", help="Model to train upon.", show_default="smollm2")
    ] = None,
    framework: Annotated[
        Literal["torch", "tensorflow"] | None, typer.Option(help="Framework to train in.", show_default="torch")
    ] = None,
    watch: WatchOption = False,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune a classifier right here; no server is needed. Ctrl-C pauses it."""
    from server.finetuning.cli import local
    from server.finetuning.cli.options import read_search, read_served, read_settings, read_temperature

    settings = settings_of(models=[model] if model else None, framework=framework)
    _require_folder(report)
    hyperparameters = read_settings(setting or ()) | ({"n_epochs": epochs} if epochs is not None else {})
    body: dict[str, Any] = {
        "training_file": "given", "method_name": method, "suffix": suffix, "seed": seed,
        "hyperparameters": hyperparameters,
        "temperature": read_temperature(temperature or "1") | {"per": per, "lr_coupling": lr_coupling},
        "search": read_search(search) if search else None,
        "integrations": [{"type": "wandb", "wandb": {"project": wandb}}] if wandb else None,
        "serving_temperature": read_served(serving_temperature) if serving_temperature else None,
    }  # fmt: skip
    plan = local.settle(local.read_request(body), settings)
    given = {"training_file": file, "validation_file": validation_file, "test_file": test_file}
    with _kept(settings) as state:
        job = _submit(state, plan, {name: path for name, path in given.items() if path is not None})
        terminal.note(f"{job.id}: {method} on {file}")
        _run(state, job.id, watch=watch, report=report, as_json=as_json)


@app.command()
def resume(
    job_id: JobArgument, watch: WatchOption = False, report: ReportOption = None, as_json: JsonOption = False
) -> None:
    """Go on right here with a fine-tune that was paused, or whose process has died."""
    from server.finetuning.cli import local

    _require_folder(report)
    with _kept(settings_of()) as state:
        _find(state, job_id)
        local.resume(state, job_id)
        _run(state, job_id, watch=watch, report=report, as_json=as_json)


@app.command("list")
def list_jobs(as_json: JsonOption = False) -> None:
    """List the fine-tunes of the data directory, newest first."""
    with _kept(settings_of()) as state:
        jobs = [_describe(state, job) for job in _all(state)]
    if as_json:
        print(json.dumps(jobs))
    elif jobs:
        show_finetunes(jobs)
    else:
        terminal.note("no fine-tunes yet; begin one with: kelvin finetune train.jsonl")


@app.command()
def show(job_id: JobArgument, as_json: JsonOption = False) -> None:
    """Show a fine-tune: its state, what happened, and its figures."""
    with _kept(settings_of()) as state:
        job = _find(state, job_id)
        described, events = _describe(state, job), state.store.events(job_id)
        outcome = _outcome(state, job_id)
    if as_json:
        print(json.dumps(described))
        return
    for event in events:
        show_event(event)
    if outcome is not None:
        show_outcome(described["classifier"], outcome)


@app.command()
def cancel(job_id: JobArgument) -> None:
    """Cancel a fine-tune: at once where it waits, within seconds where it runs."""
    with _kept(settings_of()) as state:
        _find(state, job_id)
        job = state.store.cancel(job_id)
    terminal.note(f"{job_id} is {'told to stop' if job.cancel_requested else job.status.value}")


@app.command()
def report(job_id: JobArgument, file: Annotated[Path, typer.Argument(help="HTML file to write.")]) -> None:
    """Write the report of a fine-tune that has succeeded."""
    _require_folder(file)
    with _kept(settings_of()) as state:
        _write_report(state, _find(state, job_id), file)


def _submit(state: "Kept", plan: Plan, files: dict[str, Path]) -> "Job":
    from server.finetuning.cli import local
    from server.finetuning.jobs.validation import InvalidFilesError

    try:
        return local.submit(state, plan, files)
    except InvalidFilesError as error:
        show_bad_lines(error.bad_lines)
        raise


def _run(state: "Kept", job_id: str, *, watch: bool, report: Path | None, as_json: bool) -> None:
    from server.finetuning.cli import local
    from server.jobs.status import Status

    with terminal.progress_bars() as progress:
        job = local.run(state, job_id, _on_change(progress, watch=watch))
    if job.status is Status.PAUSED:
        terminal.note(f"paused; go on with: kelvin finetune resume {job_id}")
        return
    if job.status is not Status.SUCCEEDED:
        error = job.error or {"message": f"the fine-tune is {job.status.value}", "param": None}
        raise KelvinError(error["message"], param=error["param"])
    if report is not None:
        _write_report(state, job, report)
    if as_json:
        print(json.dumps(_describe(state, job)))
        return
    outcome = _outcome(state, job_id)
    assert outcome is not None
    show_outcome(_describe(state, job)["classifier"], outcome)


def _on_change(progress: "Callable[[str, float], None]", *, watch: bool) -> "Callable[[Job, list[Event]], None]":
    def on_change(job: "Job", events: "list[Event]") -> None:
        for event in events:
            if event.type == "diagnosis":  # told with the figures, once they are there
                continue
            step = event.type == "metrics" and "validation_nll" not in event.data
            if event.level != "info" or (watch and not step):
                show_event(event)
        progress("training", job.progress)

    return on_change


@contextmanager
def _kept(settings: "Settings") -> "Iterator[Kept]":
    from server.finetuning.cli.local import kept

    with kept(settings) as state:
        yield state


def _find(state: "Kept", job_id: str) -> "Job":
    from server.jobs.job import Kind

    job = state.store.get(job_id)
    if job.kind is not Kind.FINETUNE:
        raise NotFoundError("there is no fine-tune of this id; kelvin finetune list shows them", param="id")
    return job


def _all(state: "Kept") -> "list[Job]":
    from server.jobs.job import Kind

    return state.store.list_jobs(Kind.FINETUNE, limit=1000)


def _describe(state: "Kept", job: "Job") -> dict[str, Any]:
    from server.api.finetuning_job import describe

    return describe(job, state.store, state.classifiers)


def _outcome(state: "Kept", job_id: str) -> "Outcome | None":
    from server.finetuning.jobs.job import OUTCOME
    from server.finetuning.outcome import Outcome

    result = state.store.result(job_id)
    return None if result is None else Outcome.model_validate(result[OUTCOME])


def _write_report(state: "Kept", job: "Job", path: Path) -> None:
    from server.finetuning.plan import Plan
    from server.finetuning.reporting.report import report_html

    outcome = _outcome(state, job.id)
    if outcome is None:
        raise InvalidRequestError(f"the fine-tune is {job.status.value}; its report is there when it has succeeded")
    try:
        path.write_text(report_html(outcome, Plan.model_validate(job.request)), encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
    terminal.note(f"wrote {path}")


def _require_folder(path: Path | None) -> None:
    """Complain of a file that cannot be written before the work is done, not after."""
    if path is not None and not path.absolute().parent.is_dir():
        raise InvalidRequestError(f"{path} cannot be written: its folder is not there; make it first")
