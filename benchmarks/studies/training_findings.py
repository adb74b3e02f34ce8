"""What the study of training temperatures states, and how each statement is checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from training_arms import CONTROL, DATA, RAISED
from training_contrasts import Result, Trainings
from training_questions import ANNEALED, HEATED, tuned

TITLES = {data.name: data.title for data in DATA}
EVERY = tuple(TITLES)


@dataclass(frozen=True)
class Finding:
    """Something that the page states.

    Attributes:
        claim: what.
        figures: what came out.
        holds: whether that bears it out.
    """

    claim: str
    figures: str
    holds: bool


class Answers:
    """The results of contrasts, by arms, metric and data set."""

    def __init__(self, results: Sequence[Result]) -> None:
        """Sort the results."""
        self._found = {(own.contrast.plus, own.contrast.minus, own.metric, own.data): own for own in results}

    def on(self, metric: str, plus: str, minus: str = CONTROL, data: Sequence[str] = EVERY) -> list[Result]:
        """Return the results of an arm against another on the data sets where both were trained."""
        keys = [((plus,), (minus,), metric, name) for name in data]
        return [self._found[key] for key in keys if key in self._found]

    def grown(self, metric: str, arm: str) -> list[Result]:
        """Return how much more an arm does to the control in a network that is wide."""
        keys = [((f"{arm}, wide", CONTROL), (f"{CONTROL}, wide", arm), metric, name) for name in EVERY]
        return [self._found[key] for key in keys if key in self._found]


def shown(results: Sequence[Result], form: str = "+.3f", unit: str = "") -> str:
    """Write differences with their intervals."""
    return "; ".join(
        f"{TITLES[own.data]} {own.mean:{form}}{unit} [{own.interval.low:{form}}, {own.interval.high:{form}}]"
        for own in results
    )


def every(results: Sequence[Result], *verdicts: str) -> bool:
    """Say whether there are results, and all have one of the verdicts."""
    return bool(results) and all(own.verdict in verdicts for own in results)


def findings_of(trainings: Mapping[str, Trainings], results: Sequence[Result]) -> list[Finding]:
    """Check everything that the page states."""
    asked = Answers(results)
    checks: tuple[Callable[[Answers, Mapping[str, Trainings]], Finding], ...] = (
        fitted_follows, hot_is_slow, hot_start, annealing, annealing_at_best, constant_at_best, coupling, bands,
        smoothing, size, served_at_last,
    )  # fmt: skip
    return [check(asked, trainings) for check in checks]
