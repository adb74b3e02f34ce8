"""Tables of a fine-tune's report: the numbers behind its figures, the parameters, the diagnoses."""

import html
from collections.abc import Sequence

from server.finetuning.outcome import Diagnosis, Judged, Outcome, Search
from server.finetuning.plan import Plan
from server.finetuning.reporting.figures import PARTS, wilson
from server.finetuning.wording import NAMES, value_of
from server.reports.page import folded
from server.reports.table import number, plain, table, with_interval


def figure_table(outcome: Outcome) -> str:
    """Write every figure before and after calibration with its interval, beside that of the reference."""
    before, after, reference = outcome.before, outcome.after, outcome.reference
    head = ["of the test part", "at temperature 1", f"as served, at {outcome.temperature_served:.3g}"]
    rows = [
        [
            html.escape(label),
            *(with_interval(value_of(own.figures, name), own.intervals.get(name), 4) for own in (before, after)),
        ]
        for name, label in NAMES.items()
    ]
    if reference is not None:
        head.append("TF-IDF reference")
        for row, name in zip(rows, NAMES, strict=True):
            row.append(number(value_of(reference, name), 4))
    return table(head, rows)


def reliability_table(judged: Judged) -> str:
    """Write the bins of a reliability diagram."""
    rows = [
        [f"{low:.3f} – {low + 1 / 15:.3f}", number(mean), number(hit), _ends(hit, count), f"{count:,}"]
        for low, (mean, hit, count) in zip(_lows(judged), judged.reliability, strict=True)
    ]
    return table(["confidence", "mean", "right", "95 % interval", "rows"], rows)


def _ends(share: float, count: int) -> str:
    low, high = wilson(share, count)
    return f"[{low:.3f}, {high:.3f}]"


def _lows(judged: Judged, bins: int = 15) -> list[float]:
    return [
        next(place for place in range(bins) if mean <= (place + 1) / bins + 1e-9) / bins
        for mean, *_ in judged.reliability
    ]


def confusion_table(outcome: Outcome) -> str:
    """Write how many rows of each class were taken for each class."""
    names = [html.escape(name) for name in outcome.classes]
    rows = [[name, *(f"{own:,}" for own in row)] for name, row in zip(names, outcome.confusion, strict=True)]
    return table(["is \\ taken for", *names], rows)


def class_table(outcome: Outcome) -> str:
    """Write precision, recall and F1 of each class, and how many rows it has in each part."""
    confusion = outcome.confusion
    taken = [sum(row[place] for row in confusion) for place in range(len(confusion))]
    head = ["class", "precision", "recall", "F1", "taken for it", *(f"{part} rows" for part in PARTS)]
    rows = []
    for place, name in enumerate(outcome.classes):
        hits, own = confusion[place][place], sum(confusion[place])
        shares = hits / taken[place] if taken[place] else None, hits / own if own else None
        f1 = 2 * hits / (own + taken[place]) if own + taken[place] else None
        parts = (f"{outcome.counts[part][place]:,}" for part in PARTS)
        rows.append([html.escape(name), *map(number, (*shares, f1)), f"{taken[place]:,}", *parts])
    return table(head, rows)


def mistakes(outcome: Outcome, most: int = 5) -> str:
    """Return the most frequent mistakes in words, as plain text."""
    found = [
        (count, outcome.classes[own], outcome.classes[taken])
        for own, row in enumerate(outcome.confusion)
        for taken, count in enumerate(row)
        if own != taken and count
    ]
    if not found:
        return "No row of the test part was taken for another class."
    worst = sorted(found, key=lambda mistake: -mistake[0])[:most]
    return "Most frequent mistakes: " + "; ".join(f"{own} for {taken}, {count:,}" for count, own, taken in worst) + "."


def epoch_table(outcome: Outcome) -> str:
    """Write everything that is known of each epoch."""
    head = [
        "epoch", "T", "learning rate", "loss at T", "loss at 1", "gradient norm", "validation NLL at 1", "NLL at T",
        "accuracy", "macro-F1", "ECE at 1", "seconds",
    ]  # fmt: skip
    best = ' <span class="role">best</span>'
    rows = [
        [
            str(epoch.number) + (best if epoch.number == outcome.best_epoch else ""),
            f"{epoch.temperature:.4g}",
            f"{epoch.learning_rate:.3g}".replace("e-", "e−"),
            *(number(own, 4) for own in (epoch.loss, epoch.loss_at_one)),
            f"{epoch.gradient_norm:.3g}",
            *(number(own, 4) for own in (epoch.validation_nll, epoch.validation_nll_at_training)),
            *(number(own) for own in (epoch.validation_accuracy, epoch.validation_macro_f1, epoch.validation_ece)),
            number(epoch.seconds, 1),
        ]
        for epoch in outcome.epochs
    ]
    return table(head, rows)


def search_table(search: Search) -> str:
    """Write every setting that was tried, in order."""
    names = list(dict.fromkeys(name for trial in search.trials for name in trial.parameters))
    head = ["trial", *map(html.escape, names), "value", "spread over folds", ""]
    roles = {0: "control", search.best: "best"} if search.best else {0: "control, best"}
    rows = [
        [
            str(trial.number),
            *(html.escape(_brief(trial.parameters.get(name))) for name in names),
            number(trial.value, 4) if trial.value is not None else "given up",
            number(trial.spread, 4),
            roles.get(place, ""),
        ]
        for place, trial in enumerate(search.trials)
    ]
    return table(head, rows)


def _brief(value: object) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else plain(value)


def parameter_tables(plan: Plan) -> str:
    """Write what was asked for, a table for each part of the plan."""
    whole = plan.model_dump(mode="json", exclude={"model_dir"})
    parts = {name: value for name, value in whole.items() if isinstance(value, dict)}
    rest = {name: value for name, value in whole.items() if name not in parts}
    groups = {"fine-tune": rest, **parts}
    return "".join(_group(name.replace("_", " "), values) for name, values in groups.items())


def _group(name: str, values: dict[str, object]) -> str:
    rows = [[html.escape(key), html.escape(plain(value))] for key, value in values.items()]
    return f'<div class="group">{table([html.escape(name), ""], rows)}</div>'


def diagnoses(found: Sequence[Diagnosis]) -> str:
    """Write diagnoses, the grave ones first, with their evidence folded up."""
    ordered = sorted(found, key=lambda own: own.level != "warn")
    return "".join(map(_diagnosis, ordered))


def _diagnosis(found: Diagnosis) -> str:
    rows = [[html.escape(name.replace("_", " ")), html.escape(_said(value))] for name, value in found.evidence.items()]
    evidence = folded("the evidence", table(["", ""], rows)) if rows else ""
    name = html.escape(found.code.replace("_", " ").capitalize())
    said = f"<p><strong>{name}.</strong> {html.escape(found.message)}</p>"
    return f'<div class="diagnosis {found.level}">{said}{evidence}</div>'


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return _brief(value)
