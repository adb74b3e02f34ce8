"""The report of a fine-tune as one page of HTML, which needs no network."""

from collections.abc import Iterator
from importlib import resources

from server.finetuning.outcome import Judged, Outcome, Search
from server.finetuning.plan import TEXT_METHODS, Plan
from server.finetuning.reporting import curves, figures, tables
from server.finetuning.reporting.verdict import of_search, verdict
from server.finetuning.search.search_space import trained_plan
from server.finetuning.wording import METHODS, confidence, counted, percent, schedule
from server.reports.page import beside, figure, numbers, page, section


def report_html(outcome: Outcome, plan: Plan) -> str:
    """Draw a fine-tune that has succeeded.

    Args:
        outcome: what it found.
        plan: what was asked for; what a search has chosen is drawn instead of it.

    Returns:
        A page with everything in it: figures, their numbers, and no reference to anything outside.
    """
    plan = trained_plan(plan, outcome.search)
    style = resources.files("server.finetuning.reporting").joinpath("report.css").read_text(encoding="utf-8")
    suffix = f" {plan.suffix}" if plan.suffix else ""
    name = METHODS[plan.method]
    return page(
        title=f"{name[0].upper()}{name[1:]}{suffix}: {_named(outcome.classes)}",
        facts=_facts(outcome, plan),
        verdict=verdict(outcome),
        warnings=outcome.warnings,
        sections=_sections(outcome, plan),
        style=style,
    )


def _named(classes: list[str], most: int = 4) -> str:
    if len(classes) > most:
        return f"{len(classes)} classes"
    return ", ".join(classes[:-1]) + f" or {classes[-1]}"


def _facts(outcome: Outcome, plan: Plan) -> str:
    rows = sum(map(sum, outcome.counts.values()))
    knows = f" on {plan.model}" if plan.method in TEXT_METHODS else ""
    epochs = f"{counted(len(outcome.epochs), 'epoch')}, the best one {outcome.best_epoch}"
    if outcome.ensemble is not None:
        networks = counted(
            len(outcome.ensemble.members), "cross-fitted network" if plan.hyperparameters.cross_fitted else "network"
        )
        epochs = f"{networks}, of the first {epochs}"
    return (
        f"{METHODS[plan.method]}{knows} in {plan.framework}; {rows:,} rows, {len(outcome.classes)} classes; "
        f"{outcome.parameters:,} trained weights, {epochs}; {schedule(plan.temperature)}; seed {plan.seed}; "
        f"{_duration(outcome.seconds)}"
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _sections(outcome: Outcome, plan: Plan) -> Iterator[str]:
    if outcome.diagnoses:
        yield section("What to look at", "", tables.diagnoses(outcome.diagnoses))
    yield section("The figures", _figures_caption(outcome), tables.figure_table(outcome))
    yield section("Can its probabilities be trusted?", _reliability_caption(outcome), _reliability(outcome))
    yield section(
        "Which classes it takes for which",
        f"A row is what it is, a column what it is taken for; blue is right, red is wrong. {tables.mistakes(outcome)}",
        figure("confusion", figures.confusion(outcome))
        + numbers(tables.confusion_table(outcome) + tables.class_table(outcome)),
    )
    yield section("The course of training", _course_caption(outcome, plan), _course(outcome, plan))
    if outcome.search is not None:
        yield section("The search", _search_caption(outcome.search), _search(outcome.search))
    yield section(
        "Rows of each class",
        _parts_caption(plan),
        figure("rows_of_each_class", figures.counts(outcome)) + numbers(tables.class_table(outcome)),
    )
    yield section("Parameters", "", f'<div class="groups">{tables.parameter_tables(plan)}</div>')


def _parts_caption(plan: Plan) -> str:
    if not plan.hyperparameters.cross_fitted:
        return (
            "Weights are fitted to train; validation chooses the epoch, calibration the temperature; test judges, once."
        )
    return (
        "Weights are fitted to train, of which each network leaves out a fold; validation chooses the epoch; what each "
        "network says of its fold chooses the temperature; test judges, once."
    )


def _figures_caption(outcome: Outcome) -> str:
    said = (
        "With 95 % intervals of a bootstrap over the test rows. Accuracy, F1 and Matthews correlation do not depend on "
        "the temperature. Calibration errors take absolute values, so that noise can only raise them: their intervals "
        "lie high."
    )
    if outcome.reference is None:
        return said
    return f"{said} The reference is TF-IDF with logistic regression, on the same rows and calibrated alike."


def _reliability_caption(outcome: Outcome) -> str:
    def gap(own: Judged) -> str:
        mean, hits = confidence(own), own.figures.accuracy
        return f"at temperature {own.temperature:.3g} the answers claim {percent(mean)} and {percent(hits)} are right"

    both = "; ".join(gap(own) for own in _judged(outcome))
    return (
        "Answers by the probability that they were given with: on the dotted line, as many are right as the "
        f"probability says; below it, it is too sure. Bars are 95 % intervals. Over all rows, {both}."
    )


def _judged(outcome: Outcome) -> list[Judged]:
    return [outcome.before] if outcome.temperature_served == 1 else [outcome.before, outcome.after]


def _reliability(outcome: Outcome) -> str:
    shown = _judged(outcome)
    most = max(count for own in shown for *_, count in own.reliability)
    names = ("before", "after")
    colours = (figures.RED, figures.BLUE)
    drawn = [
        f"<div><h3>{_reliability_title(own, name)}</h3>"
        f"{figure(f'reliability_{name}', figures.reliability(own, colour, most))}"
        f"{numbers(tables.reliability_table(own))}</div>"
        for own, name, colour in zip(shown, names, colours, strict=False)
    ]
    return beside(*drawn)


def _reliability_title(judged: Judged, name: str) -> str:
    if name == "before":
        return f"At temperature 1: ECE {percent(judged.figures.ece)}"
    return f"As served, at {judged.temperature:.3g}: ECE {percent(judged.figures.ece)}"


def _course_caption(outcome: Outcome, plan: Plan) -> str:
    said = f"The dotted line marks the best epoch, {outcome.best_epoch}, whose weights are kept."
    if outcome.ensemble is not None:
        others = ", ".join(str(own.best_epoch) for own in outcome.ensemble.members[1:])
        said = f"Of the first network; the best epochs of the others are {others}. {said}"
    temperatures = {epoch.temperature for epoch in outcome.epochs}
    if temperatures == {1.0}:
        return said
    return (
        f"{said} T(t) is the temperature of the loss, {schedule(plan.temperature)}. Losses at different temperatures "
        "are measured with different rulers: those at T = 1 can be compared over epochs and with other trainings."
    )


def _course(outcome: Outcome, plan: Plan) -> str:
    drawn = {
        "training_loss": curves.losses(outcome),
        "validation_nll": curves.validation_nll(outcome),
        "validation_accuracy": curves.accuracy(outcome),
        "validation_calibration_error": curves.calibration_error(outcome),
        "temperature": curves.temperature(outcome, plan.temperature),
        "learning_rate": curves.learning_rate(outcome),
    }
    return beside(*(figure(name, own) for name, own in drawn.items())) + numbers(tables.epoch_table(outcome))


def _search_caption(search: Search) -> str:
    lost = sum(trial.value is None for trial in search.trials)
    given_up = (
        f" {counted(lost, 'setting was', 'settings were')} given up early, where strokes are at the foot."
        if lost
        else ""
    )
    return (
        f"{of_search(search)} Each setting was trained once a fold; bars are standard deviations over folds."
        f"{given_up} The best of many looks better than it is: its gain is an upper end."
    )


def _search(search: Search) -> str:
    return figure("search", figures.search(search)) + numbers(tables.search_table(search))
