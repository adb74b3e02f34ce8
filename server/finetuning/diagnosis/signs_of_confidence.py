"""Signs of confidence: whether probabilities can be trusted, and what the fitted temperature tells of training."""

import math

from samplers.calibration import FEW_ROWS
from server.finetuning.outcome import Diagnosis, Outcome
from server.finetuning.plan import Plan
from server.finetuning.wording import confidence, percent

FEWEST_ROWS = 50  # with which a fitted temperature is believed at all
FAR = 1.25  # ratio of two temperatures that matters
LEAST_GAP = 0.03  # between confidence and accuracy that matters
ERRORS = 3  # standard errors of accuracy that a gap must have
BY_HEART = 0.5  # training NLL against validation NLL
LEAST_ECE = 0.01  # rise of the calibration error that matters


def served_confidence(plan: Plan, outcome: Outcome) -> Diagnosis | None:
    """Tell whether the classifier, as it is served, is too sure or not sure enough on the test part.

    It fires where mean confidence and accuracy are more than 0.03 and three standard errors of accuracy apart.
    """
    rows, hits = sum(outcome.counts["test"]), outcome.after.figures.accuracy
    mean = confidence(outcome.after)
    error = math.sqrt(max(hits * (1 - hits), 1 / rows) / rows)
    gap = mean - hits
    if abs(gap) <= max(LEAST_GAP, ERRORS * error):
        return None
    unlike_fitted = outcome.temperature_fitted not in (None, outcome.temperature_served)
    if unlike_fitted:
        remedy = f'Serve it at the fitted temperature, {outcome.temperature_fitted:.3g}: serving_temperature "fitted".'
    elif plan.calibration.method == "none":
        remedy = 'Let a temperature be fitted: calibration.method "temperature".'
    else:
        remedy = (
            "The calibration rows did not tell of it: give more of them, and see that they come from where the test "
            "rows come from."
        )
    return Diagnosis(
        code="served_overconfident" if gap > 0 else "served_underconfident",
        level="warn",
        message=f"As it is served, at temperature {outcome.temperature_served:.3g}, its answers claim {percent(mean)} "
        f"and {percent(hits)} are right. {remedy}",
        evidence={
            "mean_confidence": mean,
            "accuracy": hits,
            "standard_error": error,
            "temperature_served": outcome.temperature_served,
            "temperature_fitted": outcome.temperature_fitted,
        },
    )


def final_temperature(plan: Plan, outcome: Outcome) -> Diagnosis | None:
    """Tell whether the last temperature of training makes probabilities too sure or not sure enough.

    It fires where at least 50 calibration rows gave a temperature 1.25 times the last one or more, or 1/1.25 or less.
    """
    fitted, final = outcome.temperature_fitted, outcome.temperature_final
    rows = outcome.calibration_rows
    if fitted is None or rows < FEWEST_ROWS or 1 / FAR < fitted / final < FAR:
        return None
    too_sure, served = fitted > final, outcome.temperature_served
    at_final = served == final
    left_out = "left-out" if plan.hyperparameters.cross_fitted else "calibration"
    message = (
        f"At the temperature that training ended with, {final:.3g}, probabilities are "
        f"{'too sure' if too_sure else 'not sure enough'}: {rows:,} {left_out} rows are told best at {fitted:.3g}. "
    )
    if at_final:
        message += 'It is served at that one: use serving_temperature "fitted".'
    elif served == fitted:
        message += "It is served at the fitted one, which mends that." + _cause(plan, outcome, too_sure)
    else:
        message += f"It is served at {served:.3g}."
    return Diagnosis(
        code="overconfident_at_final_temperature" if too_sure else "underconfident_at_final_temperature",
        level="warn" if at_final else "info",
        message=message,
        evidence={
            "temperature_final": final,
            "temperature_fitted": fitted,
            "temperature_served": served,
            "calibration_rows": rows,
            "ece_at_one": outcome.before.figures.ece,
            "ece_served": outcome.after.figures.ece,
        },
    )


def _cause(plan: Plan, outcome: Outcome, too_sure: bool) -> str:
    """Say why, where it can be seen."""
    mass = plan.hyperparameters.label_smoothing
    if mass and not too_sure:
        return f" Labels were smoothed by {mass:g}, which asks for less than certainty."
    best = next(epoch for epoch in outcome.epochs if epoch.number == outcome.best_epoch)
    if too_sure and best.loss_at_one < BY_HEART * best.validation_nll:
        return (
            f" In the best epoch the NLL at temperature 1 is {best.loss_at_one:.3f} on training rows and "
            f"{best.validation_nll:.3f} on validation rows: it has learned the former by heart."
        )
    return ""


def smoothing(plan: Plan, outcome: Outcome) -> Diagnosis | None:
    """Tell what label smoothing and the fitted temperature make of each other.

    It fires where labels were smoothed and the fitted temperature is below the last one of training, or the
    calibration error of the served temperature is more than 0.01 above that of temperature 1.
    """
    mass = plan.hyperparameters.label_smoothing
    if not mass:
        return None
    before, after = outcome.before.figures.ece, outcome.after.figures.ece
    harmed = outcome.temperature_served != 1 and after > before + LEAST_ECE
    fitted, final = outcome.temperature_fitted, outcome.temperature_final
    if not harmed and (fitted is None or fitted >= final):
        return None
    classes = len(outcome.classes)
    aim = 1 - mass + mass / classes
    message = (
        f"Labels were smoothed by {mass:g}: training aims at probabilities of {percent(aim)} at its own temperature, "
        "whatever that is, so a higher one does not make up for smoothing. "
    )
    if harmed:
        message += (
            f"Serving at {outcome.temperature_served:.3g} raised the calibration error from {percent(before)} to "
            f"{percent(after)}: smoothing has done calibration's work already. Serve it at 1, or train without it."
        )
    else:
        message += f"The fitted temperature, {fitted:.3g}, takes some of it back, which is in order: serve at that one."
    return Diagnosis(
        code="smoothing_against_temperature",
        level="warn" if harmed else "info",
        message=message,
        evidence={
            "label_smoothing": mass,
            "aimed_at": aim,
            "temperature_final": final,
            "temperature_fitted": fitted,
            "ece_at_one": before,
            "ece_served": after,
        },
    )


def few_calibration_rows(plan: Plan, outcome: Outcome) -> Diagnosis | None:
    """Tell whether the temperature was fitted to fewer than 200 rows."""
    rows, total = outcome.calibration_rows, sum(map(sum, outcome.counts.values()))
    if plan.calibration.method == "none" or rows >= FEW_ROWS:
        return None
    wanted = FEW_ROWS / total
    remedy = (
        f"Raise calibration.fraction to {math.ceil(100 * wanted) / 100:g}"
        if wanted <= 0.5 and not plan.hyperparameters.cross_fitted
        else f"Give at least {2 * FEW_ROWS} rows in all, better thousands"
    )
    return Diagnosis(
        code="few_calibration_rows",
        level="warn",
        message=f"The temperature was fitted to {rows:,} rows; below {FEW_ROWS} it depends on which rows these are. "
        f"{remedy}, or do not rely on the probabilities.",
        evidence={"calibration_rows": rows, "rows": total, "fraction": plan.calibration.fraction},
    )
