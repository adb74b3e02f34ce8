"""Signs of classes: which are never answered, and whether the whole was worth it."""

import math

from server.finetuning.outcome import Diagnosis, Outcome
from server.finetuning.plan import Plan
from server.finetuning.wording import REFERENCE, counted, largest_share, percent

FEWEST_ROWS = 5  # of a class in the test part, with which it is missed
NAMED = 8


def ignored_classes(plan: Plan, outcome: Outcome) -> Diagnosis | None:
    """Tell which classes are never answered.

    It fires for each class with at least five test rows that no test row was taken for.
    """
    places = range(len(outcome.classes))
    answered = [sum(row[place] for row in outcome.confusion) for place in places]
    ignored = [place for place in places if not answered[place] and outcome.counts["test"][place] >= FEWEST_ROWS]
    if not ignored:
        return None
    names = [outcome.classes[place] for place in ignored]
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    train = outcome.counts["train"]
    remedy = (
        "Balanced weights are in force already: give more rows of these classes, or raise n_epochs or learning_rate."
        if plan.hyperparameters.class_weight == "balanced"
        else 'Give more rows of these classes, or class_weight "balanced". Weights move probabilities away from how '
        "frequent classes are, and one temperature cannot move them back."
    )
    return Diagnosis(
        code="ignored_classes",
        level="warn",
        message=f"No test row was taken for {shown}. No temperature mends that: none changes which class comes first. "
        f"{remedy}",
        evidence={
            "classes": names,
            "test_rows": [outcome.counts["test"][place] for place in ignored],
            "train_rows": [train[place] for place in ignored],
            "most_train_rows_of_a_class": max(train),
        },
    )


def learned_nothing(plan: Plan, outcome: Outcome) -> Diagnosis | None:
    """Tell whether always answering the most frequent class does as well.

    It fires where test accuracy is no more than two standard errors above that class's share.
    """
    counts, accuracy = outcome.counts["test"], outcome.after.figures.accuracy
    largest = largest_share(counts)
    error = math.sqrt(largest * (1 - largest) / sum(counts))
    if accuracy > largest + 2 * error:
        return None
    return Diagnosis(
        code="learned_nothing",
        level="warn",
        message=f"{percent(accuracy)} of {counted(sum(counts), 'test row')} are told right, and always answering the "
        f"most frequent class would get {percent(largest)}. See whether labels belong to their texts, then raise "
        "learning_rate or n_epochs.",
        evidence={"accuracy": accuracy, "largest_class": largest, "standard_error": error},
    )


def loses_to_reference(plan: Plan, outcome: Outcome) -> Diagnosis | None:
    """Tell whether TF-IDF with logistic regression is as good, on the same rows and calibrated alike.

    It fires where the reference's accuracy is not below the interval of the fine-tune's own.
    """
    reference, own = outcome.reference, outcome.after
    if reference is None:
        return None
    interval = own.intervals["accuracy"]
    if reference.accuracy < interval.low:
        return None
    loses = reference.accuracy > interval.high
    better = "lora, full or dan" if plan.method == "linear_probe" else "another method, more epochs"
    return Diagnosis(
        code="loses_to_reference" if loses else "no_better_than_reference",
        level="warn" if loses else "info",
        message=f"{REFERENCE} tells {percent(reference.accuracy)} right, the fine-tune "
        f"{percent(own.figures.accuracy)}{'' if loses else ', which so few test rows cannot tell apart'}. Use the "
        f"simpler one, or try {better} or more rows.",
        evidence={
            "accuracy": own.figures.accuracy,
            "interval": [interval.low, interval.high],
            "reference_accuracy": reference.accuracy,
            "nll": own.figures.nll,
            "reference_nll": reference.nll,
        },
    )
