"""Card: what somebody should know of a classifier before using it, in Markdown, beside its weights."""

from collections.abc import Iterator, Sequence

from server.finetuning.outcome import Judged, Outcome
from server.finetuning.plan import TEXT_METHODS, Plan
from server.finetuning.reporting.verdict import verdict
from server.finetuning.search.search_space import trained_plan
from server.finetuning.wording import METHODS, NAMES, schedule, value_of


def model_card(outcome: Outcome, plan: Plan, name: str) -> str:
    """Write a classifier's card.

    Args:
        outcome: what its fine-tune found.
        plan: what was asked for; what a search has chosen is told instead of it.
        name: of the classifier, as `ft:…`.

    Returns:
        Markdown in which no text of the rows' labels is markup.
    """
    return "\n\n".join(_parts(outcome, trained_plan(plan, outcome.search), name)) + "\n"


def _parts(outcome: Outcome, plan: Plan, name: str) -> Iterator[str]:
    yield f"# {_text(name)}"
    yield _what(outcome, plan)
    yield "\n".join(f"- {_text(sentence)}" for sentence in verdict(outcome))
    yield f"## Rows\n\n{_rows(outcome)}"
    yield f"## Figures\n\nOf the test part, with 95 % intervals of a bootstrap over its rows.\n\n{_figures(outcome)}"
    yield f"## Temperature\n\n{_temperature(outcome, plan)}"
    yield f"## Limits\n\n{_bullets(_limits(outcome, plan))}"
    if outcome.diagnoses:
        yield f"## Diagnoses\n\n{_bullets(f'{own.code}: {own.message}' for own in outcome.diagnoses)}"


def _what(outcome: Outcome, plan: Plan) -> str:
    takes = "texts" if plan.method in TEXT_METHODS else "rows of numbers"
    knows = f", with tokenizer and weights of {plan.model}" if plan.method in TEXT_METHODS else ""
    what = f"A {METHODS[plan.method]}"
    if outcome.ensemble is not None:
        cross_fitted = ", cross-fitted" if plan.hyperparameters.cross_fitted else ""
        what = f"An ensemble of {len(outcome.ensemble.members)} networks, each a {METHODS[plan.method]}{cross_fitted},"
    return (
        f"{what} that tells {takes} of {len(outcome.classes)} classes apart{_text(knows)}; trained "
        f"in {plan.framework}, {outcome.parameters:,} weights, seed {plan.seed}."
    )


def _rows(outcome: Outcome) -> str:
    counts = outcome.counts
    rows = [
        [_text(name), *(f"{own[place]:,}" for own in counts.values())] for place, name in enumerate(outcome.classes)
    ]
    rows.append(["all", *(f"{sum(own):,}" for own in counts.values())])
    return _table(["class", *counts], rows)


def _figures(outcome: Outcome) -> str:
    head = ["", "at temperature 1", f"as served, at {outcome.temperature_served:.4g}"]
    rows = [
        [label, *(_with_interval(own, figure) for own in (outcome.before, outcome.after))]
        for figure, label in NAMES.items()
    ]
    if outcome.reference is not None:
        head.append("TF-IDF with logistic regression")
        for row, figure in zip(rows, NAMES, strict=True):
            row.append(f"{value_of(outcome.reference, figure):.4f}")
    return _table(head, rows)


def _with_interval(judged: Judged, figure: str) -> str:
    value, interval = value_of(judged.figures, figure), judged.intervals.get(figure)
    return f"{value:.4f}" if interval is None else f"{value:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def _temperature(outcome: Outcome, plan: Plan) -> str:
    served, fitted = outcome.temperature_served, outcome.temperature_fitted
    rows = f"{outcome.calibration_rows:,} calibration rows, which training never saw"
    if plan.hyperparameters.cross_fitted:
        rows = (
            f"{outcome.calibration_rows:,} training rows, each as the network that had left it out tells it, not as "
            "all together do"
        )
    if fitted is not None:
        fit = f"The temperature of least NLL on {rows}, is {fitted:.4g}."
    elif plan.calibration.method == "none":
        fit = "No temperature was fitted, as was asked for."
    else:
        fit = f"On {rows}, no temperature improved on 1."
    if plan.serving_temperature == "fitted":
        why = "the fitted one" if fitted is not None else "1, for want of a better one"
    elif plan.serving_temperature == "final":
        why = "the last one of training, as was asked for"
    else:
        why = "the number that was asked for"
    return (
        f"Logits are divided by {served:.4g} before the softmax: {why}. {fit} The loss was trained with "
        f"{schedule(plan.temperature)}. A request may ask for another temperature; the answer stays, its probability "
        "changes."
    )


def _limits(outcome: Outcome, plan: Plan) -> Iterator[str]:
    yield (
        "It knows these classes alone: what belongs to none of them is given one all the same, perhaps with a high "
        "probability."
    )
    yield (
        "Figures hold for rows like those of the test part. Other sources, later times or other shares of classes move "
        "accuracy, and calibration with it."
    )
    if plan.method in TEXT_METHODS:
        yield f"Of each text, the first {plan.hyperparameters.max_length:,} tokens are read."
    few = [name for name, own in zip(outcome.classes, outcome.counts["test"], strict=True) if own < 30]
    if few:
        names = ", ".join(few[:8]) + (f" and {len(few) - 8} more" if len(few) > 8 else "")
        yield f"With fewer than 30 test rows, little is known of {names}."
    yield from outcome.warnings


def _bullets(sentences: Iterator[str] | Sequence[str]) -> str:
    return "\n".join(f"- {_text(own)}" for own in sentences)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Write text so that Markdown takes none of it for markup, on one line."""
    return "".join(f"\\{own}" if own in "\\`*_{}[]<>#|!~&$" else own for own in " ".join(text.split()))
