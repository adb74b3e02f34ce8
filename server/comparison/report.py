"""The report of a comparison as one page of HTML, which needs no network."""

import html
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources

from server.comparison import figures, tables
from server.comparison.completion import Completion
from server.comparison.first_divergence import first_divergence, shared_text
from server.comparison.metrics import PRIMARIES
from server.comparison.result import Report
from server.reports.page import beside, figure, numbers, page, section
from server.reports.table import table

PROMPTS_SHOWN = 40
SAMPLES_SHOWN = 4
OPEN_PROMPTS = 2

Written = Mapping[tuple[int, str, int], Completion]  # by prompt, arm and sample


def report_html(report: Report, completions: Iterable[Completion]) -> str:
    """Draw a report.

    Args:
        report: of a comparison.
        completions: of its prompts, in any order; those of the first prompts are shown.

    Returns:
        A page with everything in it: figures, their numbers, and no reference to anything outside.
    """
    written = {
        (own.prompt_index, own.arm, own.sample_index): own
        for own in completions
        if own.prompt_index < PROMPTS_SHOWN and own.sample_index < SAMPLES_SHOWN
    }
    style = resources.files("server.comparison").joinpath("report.css").read_text(encoding="utf-8")
    return page(_title(report), _facts(report), report.verdict, report.warnings, _sections(report, written), style)


def _title(report: Report) -> str:
    others = [arm.name for arm in report.arms if arm.name != report.baseline]
    return f"{others[0] if len(others) == 1 else f'{len(others)} arms'} against {report.baseline}"


def _facts(report: Report) -> str:
    noise = "common random numbers" if report.common_random_numbers else "noise of its own for each arm"
    models = ", ".join(sorted({f"{arm.model} in {arm.framework}" for arm in report.arms}))
    return (
        f"{len(report.prompts):,} prompts × {len(report.arms)} arms × {report.samples_per_prompt} samples of up to "
        f"{report.max_tokens:,} tokens; {models}; seed {report.seed}, {noise}"
    )


def _sections(report: Report, written: Written) -> Iterator[str]:
    yield section(
        "Diversity against coherence",
        "Up is more diverse; left is closer to what the model itself expects. Bars are 95 % intervals of the mean over "
        "prompts.",
        figure("frontier", figures.frontier(report)) + numbers(tables.arm_table(report)),
    )
    yield section("Every arm against the baseline", _contrasts_caption(report), tables.contrast_tables(report))
    both = beside(*(figure(metric, figures.per_prompt(report, metric)) for metric in PRIMARIES))
    yield section(
        "Prompt by prompt",
        "Lines join the arms' values for the same prompt: where they all slope one way, so does the mean.",
        both + numbers(tables.prompt_table(report)),
    )
    yield section(
        "Entropy by position",
        "Mean entropy of the distribution that was drawn from, up to where half of the answers have ended.",
        figure("entropy", figures.entropy_by_position(report))
        + numbers(tables.curve_table(report, "position", 0, [arm.entropy_by_position for arm in report.arms])),
    )
    yield section(
        "Different answers",
        "Answers that share most of their words count as one (near-duplicates, as in NoveltyBench).",
        figure("rarefaction", figures.rarefaction(report))
        + numbers(tables.curve_table(report, "samples", 1, [arm.rarefaction for arm in report.arms])),
    )
    yield section(
        "Lengths",
        "What share of an arm's answers is at least so long.",
        figure("lengths", figures.lengths(report)) + numbers(tables.ending_table(report)),
    )
    yield section("Parameters", "Those in which the arms differ are marked.", tables.parameters(report))
    yield section("What they wrote", _written_caption(report), "".join(_prompts(report, written)))


def _contrasts_caption(report: Report) -> str:
    if len(report.prompts) == 1:
        return (
            "Difference from the baseline among the samples of the one prompt: its 95 % jackknife interval, and the p "
            "of swapping labels of equal samples, adjusted within its family."
        )
    return (
        "Difference from the baseline, paired by prompt: mean with a 95 % interval, sign-flip p adjusted within its "
        "family, d_z the mean in units of its own spread."
    )


def _written_caption(report: Report) -> str:
    shown = f"{min(SAMPLES_SHOWN, report.samples_per_prompt)} of {report.samples_per_prompt} samples"
    prompts = f"{min(PROMPTS_SHOWN, len(report.prompts))} of {len(report.prompts):,} prompts"
    divergence = (
        " Equal samples share their noise; what follows the first difference from the baseline is marked."
        if report.common_random_numbers
        else ""
    )
    return f"{shown} of {prompts}; completions.jsonl has all of them, with the figures of every token.{divergence}"


def _prompts(report: Report, written: Written) -> Iterator[str]:
    names = [report.baseline, *(arm.name for arm in report.arms if arm.name != report.baseline)]
    head = ["sample", *(tables.named(report, name) for name in names)]
    for index, prompt in enumerate(report.prompts[:PROMPTS_SHOWN]):
        rows = [
            [str(sample), *(_text(report, written, index, name, sample) for name in names)]
            for sample in range(min(SAMPLES_SHOWN, report.samples_per_prompt))
        ]
        opened = " open" if index < OPEN_PROMPTS else ""
        summary = f'<summary><span class="prompt">{index} · {html.escape(prompt)}</span></summary>'
        yield f"<details{opened}>{summary}{table(head, rows, kind='texts')}</details>"


def _text(report: Report, written: Written, prompt: int, arm: str, sample: int) -> str:
    own = written.get((prompt, arm, sample))
    if own is None:
        return '<span class="ending">failed</span>'
    ending = f"{len(own.token_ids)} tokens, {own.finish_reason}"
    shared = len(own.text)
    baseline = written.get((prompt, report.baseline, sample))
    if report.common_random_numbers and baseline is not None and arm != report.baseline:
        place = first_divergence(baseline.token_ids, own.token_ids)
        ending += ", the same as the baseline" if place is None else f", differs from token {place} on"
        shared = len(own.text) if place is None else shared_text(baseline.text, own.text)
    rest = f"<mark>{html.escape(own.text[shared:])}</mark>" if own.text[shared:] else ""
    text = html.escape(own.text[:shared]) + rest
    return f'<div class="text">{text}</div><span class="ending">{html.escape(ending)}</span>'
