"""Verdict: a fine-tune in plain words, what matters most first; what stands before a colon is the claim."""

from collections.abc import Iterator

from server.finetuning.outcome import Ensembled, Figures, Judged, Outcome, Search
from server.finetuning.wording import REFERENCE, counted, largest_share, percent, percents


def verdict(outcome: Outcome) -> list[str]:
    """Say how good a classifier is, what calibration changed, whether it was worth it, and what a search was worth.

    Args:
        outcome: of the fine-tune.
    """
    return list(_sentences(outcome))


def _sentences(outcome: Outcome) -> Iterator[str]:
    yield _accuracy(outcome)
    if outcome.reference is not None:
        yield against_reference(outcome.after, outcome.reference)
    yield _calibration(outcome)
    if outcome.ensemble is not None:
        yield of_ensemble(outcome.after.figures, outcome.ensemble)
    if outcome.search is not None:
        yield of_search(outcome.search)


def _accuracy(outcome: Outcome) -> str:
    own, counts = outcome.after, outcome.counts["test"]
    share = own.figures.accuracy
    return (
        f"{percent(share)} of the test rows are told right: the 95 % interval is "
        f"{percents(own.intervals['accuracy'])}, over {counted(sum(counts), 'row')} of "
        f"{counted(len(outcome.classes), 'class', 'classes')}; always answering the most frequent class would get "
        f"{percent(largest_share(counts))}. Macro-F1, in which every class counts the same, is "
        f"{own.figures.macro_f1:.3f}."
    )


def against_reference(own: Judged, reference: Figures) -> str:
    """Say whether a fine-tune beats TF-IDF with logistic regression, by its interval of accuracy.

    Args:
        own: the test part at the served temperature.
        reference: its figures on the same rows.
    """
    interval, share = own.intervals["accuracy"], own.figures.accuracy
    figures = f"{percent(share)} against {percent(reference.accuracy)}, NLL {own.figures.nll:z.3f} against "
    figures += f"{reference.nll:z.3f}"
    if reference.accuracy > interval.high:
        return f"It loses to {REFERENCE}: {figures}. That reference trains in seconds and is the better choice here."
    if reference.accuracy < interval.low:
        return f"It beats {REFERENCE}: {figures}."
    return (
        f"It does not beat {REFERENCE}: {figures}; the reference lies inside the interval of "
        f"{percents(interval)}, so these test rows cannot tell the two apart."
    )


def _calibration(outcome: Outcome) -> str:
    before, after = outcome.before.figures, outcome.after.figures
    stays = "Accuracy stays: no temperature changes which class comes first."
    if outcome.temperature_served == 1:
        why = "since no other was fitted" if outcome.temperature_fitted is None else "as was asked for"
        figures = f"the calibration error is {percent(after.ece)}, NLL {after.nll:z.3f}"
        return f"It is served at temperature 1, {why}: {figures}."
    change = (
        f"the calibration error goes from {percent(before.ece)} to {percent(after.ece)}, NLL from {before.nll:z.3f} to "
        f"{after.nll:z.3f}. {stays}"
    )
    temperature = f"temperature {outcome.temperature_served:.3g}"
    if after.nll < before.nll and after.ece < before.ece:
        return f"Serving it at {temperature} makes its probabilities more honest: {change}"
    if after.nll >= before.nll and after.ece >= before.ece:
        return f"Serving it at {temperature} makes its probabilities worse: {change}"
    return f"Serving it at {temperature} has two sides: {change}"


def of_ensemble(own: Figures, ensemble: Ensembled) -> str:
    """Say what the further networks of an ensemble were worth.

    Args:
        own: figures of the test part at the served temperature.
        ensemble: its networks, and the first of them alone.
    """
    alone, count = ensemble.alone, counted(len(ensemble.members), "network")
    figures = (
        f"NLL {own.nll:z.3f} against {alone.nll:z.3f}, {percent(own.accuracy)} right against "
        f"{percent(alone.accuracy)}, calibration error {percent(own.ece)} against {percent(alone.ece)}"
    )
    if own.nll < alone.nll:
        return f"{count} together do better than the first of them alone, calibrated alike: {figures}."
    return f"{count} together do no better than the first of them alone, calibrated alike: {figures}. Train one."


def of_search(search: Search) -> str:
    """Say what a search was worth.

    Args:
        search: what it found.
    """
    name = "validation NLL after calibration" if search.objective == "nll" else "macro-F1"
    tried = counted(len(search.trials), "setting")
    best, first = search.trials[search.best], search.trials[0]
    if search.best == 0 or best.value is None or first.value is None:
        return f"The search found nothing better than temperature 1: of {tried}, it has the best {name}."
    figures = (
        f"of {tried}, temperature {best.parameters['temperature']:.3g} has the best {name}, {best.value:.4f} against "
        f"{first.value:.4f} at temperature 1"
    )
    if search.inside_noise:
        return (
            f"The search gained nothing that can be told from noise: {figures}; the gain of {search.gain:.4f} is no "
            "more than two standard errors of its folds."
        )
    return f"The search gained {search.gain:.4f}: {figures}, more than two standard errors of its folds."
