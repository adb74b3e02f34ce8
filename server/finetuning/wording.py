"""Wording: how figures of a classifier are spoken of, in reports, cards and diagnoses alike."""

from server.finetuning.outcome import Figures, Interval, Judged, Outcome
from server.finetuning.plan import Method, TemperaturePlan

NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "mcc": "Matthews correlation",
    "nll": "NLL, nats",
    "brier": "Brier score",
    "ece": "expected calibration error (ECE)",
    "adaptive_ece": "ECE, bins of equal numbers",
    "classwise_ece": "ECE, class by class",
}
HIGHER_IS_BETTER = ("accuracy", "macro_f1", "mcc")
METHODS: dict[Method, str] = {
    "linear_probe": "linear probe",
    "lora": "LoRA",
    "full": "full fine-tune",
    "dan": "deep averaging network",
    "mlp": "multilayer perceptron",
    "cnn": "convolutional network",
}
REFERENCE = "TF-IDF with logistic regression"


def percent(share: float, digits: int = 1) -> str:
    """Write a share as a percentage."""
    return f"{100 * share:.{digits}f} %"


def percents(interval: Interval) -> str:
    """Write an interval of a share."""
    return f"{100 * interval.low:.1f} to {percent(interval.high)}"


def value_of(figures: Figures, name: str) -> float:
    """Return a figure by its name."""
    return float(getattr(figures, name))


def counted(number: int, singular: str, plural: str = "") -> str:
    """Write a number of things."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def schedule(plan: TemperaturePlan) -> str:
    """Write what temperature a loss has in the course of training."""
    if plan.schedule == "constant" or (plan.schedule != "piecewise" and plan.start == plan.end):
        return f"T = {plan.start:.4g}"
    if plan.schedule == "piecewise":
        return f"T through {', '.join(f'{temperature:.4g}' for _, temperature in plan.points)}"
    return f"T from {plan.start:.4g} to {plan.end:.4g}, {plan.schedule}"


def largest_share(counts: list[int]) -> float:
    """Return the share of the class with most rows: what always answering it would be worth."""
    return max(counts) / sum(counts)


def confidence(judged: Judged) -> float:
    """Return the mean probability of the answers."""
    rows = sum(count for _, _, count in judged.reliability)
    return sum(mean * count for mean, _, count in judged.reliability) / rows


def served(outcome: Outcome) -> str:
    """Write how the served temperature came about."""
    if outcome.temperature_served == outcome.temperature_fitted:
        return f"{outcome.temperature_served:.3g}, fitted to {counted(outcome.calibration_rows, 'row')}"
    return f"{outcome.temperature_served:.3g}"
