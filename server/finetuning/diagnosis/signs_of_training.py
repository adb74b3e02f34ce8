"""Signs of training: what its course says of learning rate, temperature and number of epochs."""

import math
from itertools import pairwise

from samplers.learning_rates import coupled_rate
from server.finetuning.outcome import Diagnosis, Outcome
from server.finetuning.plan import Plan
from server.finetuning.training.first_steps import FirstSteps
from server.finetuning.wording import percent

NOTHING_LEARNED = 0.95  # of the loss of somebody who knows the shares of classes and nothing else
SATURATED = 1.5  # times ln K, the loss of even probabilities: so much more comes of sure and wrong answers alone
EVEN = 1.15  # times ln K, up to which probabilities are nearly even
SWING = 0.05  # of the NLL, that a swing up or down must have
REVERSALS = 2  # of direction, by such swings
FEWEST_EPOCHS = 4
STILL_FALLING = 0.02  # of the NLL, in the last epoch


def slow_start(plan: Plan, outcome: Outcome, first: FirstSteps | None) -> Diagnosis | None:
    """Tell whether the first epoch taught nothing, and whether a higher temperature could help.

    It fires where, after the first epoch, validation accuracy is no more than two standard errors above that of always
    answering the most frequent class, and the validation NLL at both temperatures is at least 95 % of the entropy of
    the classes' shares. A softmax is saturated where the first steps' loss is at least 1.5 ln K.
    """
    epoch, counts = outcome.epochs[0], outcome.counts["validation"]
    rows, classes = sum(counts), len(outcome.classes)
    shares = [count / rows for count in counts if count]
    largest, known = max(shares), -sum(share * math.log(share) for share in shares)
    chance = largest + 2 * math.sqrt(largest * (1 - largest) / rows)
    nll = min(epoch.validation_nll, epoch.validation_nll_at_training)
    if epoch.validation_accuracy > chance or nll < NOTHING_LEARNED * known:
        return None
    loss = first.loss if first is not None else epoch.loss
    ratio = loss / math.log(classes)
    rate = coupled_rate(plan.hyperparameters.learning_rate, epoch.temperature, plan.temperature.lr_coupling)
    return Diagnosis(
        code="slow_start",
        level="warn",
        message=f"The first epoch taught nothing: validation accuracy is {percent(epoch.validation_accuracy)} and the "
        f"most frequent class has {percent(largest)}. {_cause(ratio, rate, plan, first is not None)}",
        evidence={
            "validation_accuracy": epoch.validation_accuracy,
            "largest_class": largest,
            "validation_nll": nll,
            "entropy_of_class_shares": known,
            "early_loss": loss,
            "early_loss_over_ln_k": ratio,
            "steps_looked_at": first.steps if first is not None else None,
            "gradient_norm": first.gradient_norm if first is not None else epoch.gradient_norm,
            "temperature": epoch.temperature,
            "learning_rate": rate,
        },
    )


def _cause(ratio: float, rate: float, plan: Plan, early: bool) -> str:
    seen = f"The loss of the first {'steps' if early else 'epoch'} is {ratio:.2f} times that of even probabilities"
    if ratio >= SATURATED:
        return (
            f"{seen}: the softmax is saturated, sure of wrong answers. Here a higher temperature helps, as does "
            "a smaller scale of the inputs."
        )
    if ratio > EVEN:
        return f"{seen}, which does not tell whether the softmax is saturated. Try a higher learning_rate first."
    coupled = ""
    if plan.temperature.lr_coupling != "none" and rate < plan.hyperparameters.learning_rate:
        coupled = f", which lr_coupling has lowered to {rate:.3g}"
    return (
        f"{seen}: the softmax is not saturated, so a higher temperature would make gradients smaller, as 1/T. "
        f"Raise learning_rate{coupled}, or lower the temperature."
    )


def oscillating_validation(plan: Plan, outcome: Outcome) -> Diagnosis | None:
    """Tell whether the validation NLL goes up and down, and whether weights or the temperature make it.

    It fires with at least four epochs and two reversals of direction, each by more than 5 % of the median NLL.
    """
    at_one = [epoch.validation_nll for epoch in outcome.epochs]
    at_training = [epoch.validation_nll_at_training for epoch in outcome.epochs]
    if len(at_one) < FEWEST_EPOCHS:
        return None
    own, apparent = reversals(at_one), reversals(at_training)
    falls = outcome.epochs[-1].temperature < outcome.epochs[0].temperature
    evidence = {
        "reversals_at_one": own,
        "reversals_at_training_temperature": apparent,
        "validation_nll": at_one,
        "temperature": [epoch.temperature for epoch in outcome.epochs],
    }
    if own >= REVERSALS:
        why = (
            "The temperature falls, and gradients at the logits grow as 1/T: the head's steps get longer while they "
            'should get shorter. Use lr_coupling "inverse_square", decay "cosine", or a higher end.'
            if falls and plan.temperature.lr_coupling == "none"
            else 'Lower learning_rate, or let it decay ("cosine").'
        )
        message = f"The validation NLL at temperature 1 turns {own} times by more than 5 %: weights overshoot. {why}"
        return Diagnosis(code="oscillating_validation", level="warn", message=message, evidence=evidence)
    if apparent >= REVERSALS:
        message = (
            f"The validation NLL at the training temperature turns {apparent} times by more than 5 %, at temperature 1 "
            f"{own}: the ruler moves, not the weights. Compare epochs at temperature 1."
        )
        return Diagnosis(code="moving_ruler", level="info", message=message, evidence=evidence)
    return None


def reversals(values: list[float]) -> int:
    """Count how often a curve turns, by swings of more than 5 % of its median.

    Args:
        values: at least one, > 0.
    """
    least = SWING * sorted(values)[len(values) // 2]
    low = high = values[0]
    turns = direction = 0
    for value in values[1:]:
        low, high = min(low, value), max(high, value)
        if direction >= 0 and high - value > least:
            turns, direction, low = turns + direction, -1, value
        elif direction <= 0 and value - low > least:
            turns, direction, high = turns - direction, 1, value
    return turns


def still_improving(plan: Plan, outcome: Outcome) -> Diagnosis | None:
    """Tell whether training ended while it still learned.

    It fires where the last of at least two epochs is the best one and lowered the validation NLL by 2 % or more.
    """
    nlls = [epoch.validation_nll for epoch in outcome.epochs]
    if len(nlls) < 2 or outcome.best_epoch != outcome.epochs[-1].number:
        return None
    *_, (before, last) = pairwise(nlls)
    gain = 1 - last / before
    if gain < STILL_FALLING:
        return None
    return Diagnosis(
        code="still_improving",
        level="info",
        message=f"The last epoch still lowered the validation NLL by {percent(gain)}: raise n_epochs (now "
        f"{plan.hyperparameters.n_epochs}), with early_stopping_patience to end in time.",
        evidence={"nll_before_last": before, "nll_last": last, "n_epochs": plan.hyperparameters.n_epochs},
    )
