"""kelvin compare: a comparison right here, with a progress bar, a table and a report; no server is needed."""

import json
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server import terminal
from server.comparison.showing import show_comparison
from server.errors import InvalidRequestError, UnavailableError
from server.options import MODEL, JsonOption, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.comparison.part import Part
    from server.comparison.plan import Plan
    from server.comparison.result import Report
    from server.settings import Settings


def compare(
    prompts: Annotated[str, typer.Argument(help='JSONL file of texts or {"prompt": …}; - reads standard input.')],
    arm: Annotated[
        list[str] | None, typer.Option(metavar="NAME:FIELD=VALUE,…", help="An arm; give it again for another.")
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=FIRST:LAST:STEP", help="An arm for each value of a field.")
    ] = None,
    preset: Annotated[
        list[str] | None, typer.Option(help="conservative, balanced or brainstorm: three temperatures each.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Samples of each arm for each prompt.")] = 16,
    max_tokens: Annotated[int, typer.Option(help="Tokens of a sample at most.")] = 64,
    baseline: Annotated[
        str | None, typer.Option(help="Name of the arm to compare with.", show_default="the first")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Names the noise.", show_default="drawn, and printed")] = None,
    aa: Annotated[bool, typer.Option("--aa", help="Add the baseline once more with other seeds.")] = False,
    own_noise: Annotated[bool, typer.Option("--own-noise", help="Give each arm noise of its own.")] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar=MODEL, help="Model of the arms that name none; more may be named."),
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as an HTML page.")] = None,
    completions: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every completion as JSONL.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare sampler settings: diversity against coherence, with error bars, paired by prompt."""
    from server.comparison.arms import read_arms
    from server.comparison.local import read_request
    from server.comparison.plan import plan_of
    from server.models.reference import parse_model_ref

    settings = settings_of(models=model or None)
    for path in (report, completions):
        _require_place(path)
    request = read_request(
        prompts=_read(prompts), arms=read_arms(arm or (), sweep or (), preset or ()), baseline=baseline,
        samples_per_prompt=samples, max_tokens=max_tokens, seed=seed, aa=aa, common_random_numbers=not own_noise,
    )  # fmt: skip
    first = parse_model_ref(settings.models[0]).name
    plan = plan_of(request, first_model=first, max_tokens=settings.max_comparison_tokens)
    found, parts = _run(plan, settings)
    if as_json:
        print(found.model_dump_json())
    else:
        show_comparison(found)
    if report is not None:
        _write_report(report, found, parts)
    if completions is not None:
        _write_completions(completions, parts)


def _read(prompts: str) -> list[str]:
    from server.comparison.local import read_prompts

    try:
        if prompts == "-":
            return read_prompts(sys.stdin)
        with Path(prompts).open(encoding="utf-8") as file:
            return read_prompts(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{prompts} cannot be read: {error}; give a JSONL file in UTF-8") from error


def _require_place(path: Path | None) -> None:
    """Complain of a file that cannot be written before the work is done, not after."""
    if path is None:
        return
    if path.is_dir():
        raise InvalidRequestError(f"{path} cannot be written: it is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise InvalidRequestError(f"{path} cannot be written: its folder is not there; make it first")


def _run(plan: "Plan", settings: "Settings") -> "tuple[Report, list[Part]]":
    from server.app import load_models
    from server.comparison.local import compare as run_here

    terminal.note(f"loading {', '.join(settings.models)}")
    models = load_models(settings)
    with ExitStack() as closings:
        for loaded in models.values():
            closings.enter_context(closing(loaded))
        with terminal.progress_bars() as progress:
            total = len(plan.prompts)

            def on_progress(finished: int, eta_s: float | None) -> None:
                progress(f"{len(plan.arms)} arms, {total} prompts", finished / total)

            return run_here(plan, models, on_progress)


def _write_report(path: Path, report: "Report", parts: "Sequence[Part]") -> None:
    from server.comparison.report import report_html

    _write(path, report_html(report, (own for part in parts for own in part.completions)))


def _write_completions(path: Path, parts: "Sequence[Part]") -> None:
    lines = [line for part in parts for line in _lines(part)]
    _write(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))


def _lines(part: "Part") -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = part.model_dump(mode="json")["completions"]
    return lines


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
    terminal.note(f"wrote {path}")
