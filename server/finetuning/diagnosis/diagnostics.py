"""Diagnostics: what in the figures of a fine-tune somebody should know, and what to do about it.

Advice follows from what was measured and from the mathematics of the loss, not from custom. Two facts decide most of
it. The gradient at the logits is (softmax(z / T) - y) / T: a higher temperature makes it smaller, unless the softmax is
saturated, sure of wrong answers. And no temperature changes which class comes first, so that none can mend accuracy
after training.
"""

from collections.abc import Callable

from server.finetuning.diagnosis.signs_of_classes import ignored_classes, learned_nothing, loses_to_reference
from server.finetuning.diagnosis.signs_of_confidence import (
    few_calibration_rows,
    final_temperature,
    served_confidence,
    smoothing,
)
from server.finetuning.diagnosis.signs_of_training import oscillating_validation, slow_start, still_improving
from server.finetuning.outcome import Diagnosis, Outcome
from server.finetuning.plan import Plan
from server.finetuning.training.first_steps import FirstSteps

CHECKS: tuple[Callable[[Plan, Outcome], Diagnosis | None], ...] = (
    loses_to_reference,
    learned_nothing,
    ignored_classes,
    served_confidence,
    oscillating_validation,
    final_temperature,
    smoothing,
    few_calibration_rows,
    still_improving,
)


def diagnose(plan: Plan, outcome: Outcome, first: FirstSteps | None = None) -> list[Diagnosis]:
    """Look for everything that is known to go wrong.

    Args:
        plan: what was asked for.
        outcome: what was found.
        first: what the first steps saw; None: nobody knows, and the first epoch has to do.

    Returns:
        What was found, the gravest first within each level; nothing where all is well.
    """
    found = [slow_start(plan, outcome, first), *(check(plan, outcome) for check in CHECKS)]
    return sorted((own for own in found if own is not None), key=lambda own: own.level != "warn")
