"""What the study of training temperatures states, and how each statement is checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from training_arms import CONTROL, DATA, RAISED, SMOOTHED, smoothed
from training_contrasts import Result, Trainings
from training_questions import ANNEALED, HEATED, tuned

TITLES = {data.name: data.title for data in DATA}
EVERY, TEXTS = tuple(TITLES), ("r8", "20ng")


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
        fitted_follows, hot_is_slow, as_a_rate, cold, hot_start, annealing, against_heating, annealing_at_best,
        heating_at_best, last_is_wrong, square, bands, smoothing, smoothing_itself, size, size_at_first,
        width_forgives,
    )  # fmt: skip
    return [check(asked, trainings) for check in checks]


def fitted_follows(_: Answers, trainings: Mapping[str, Trainings]) -> Finding:
    """The fitted temperature follows the one of training."""
    names = ("T 0.5", CONTROL, "T 2")
    means = {name: [float(np.mean(own.values(arm, "fitted_t"))) for arm in names] for name, own in trainings.items()}
    figures = "; ".join(f"{TITLES[name]} {' < '.join(f'{one:.2f}' for one in row)}" for name, row in means.items())
    holds = all(low < middle < high for low, middle, high in means.values())
    return Finding("The temperature that calibration fits rises with that of training (0.5, 1, 2)", figures, holds)


def hot_is_slow(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """A constant T of 2 takes longer on texts."""
    found = asked.on("reached", "T 2", data=TEXTS)
    claim = "On texts T = 2 takes longer to reach the control's level, at the same learning rate"
    return Finding(claim, shown(found, "+.2f", " epochs"), all(one.interval.low > 0 for one in found))


def as_a_rate(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """A low T does what a higher rate does."""
    cold, fast = (asked.on("reached", arm, data=("r8",)) for arm in ("T 0.5", f"{CONTROL}, rate × 2"))
    claim = "On R8 T = 0.5 reaches the level sooner, as twice the learning rate does: T acts as a rate first of all"
    figures = f"T 0.5: {shown(cold, '+.2f', ' epochs')}; twice the rate: {shown(fast, '+.2f', ' epochs')}"
    return Finding(claim, figures, every([*cold, *fast], "better"))


def hot_start(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """A high T at first speeds nothing up."""
    found = asked.on("reached", "5→1 at first")
    claim = (
        "Folklore not borne out: a high temperature at first (5→1) is seen to speed training up on none of the three"
    )
    return Finding(claim, shown(found, "+.2f", " epochs"), every(found, "worse", "open"))


def annealing(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """Annealing is worse than constant on texts."""
    found = [one for arm in ANNEALED for one in asked.on("nll_after", arm)]
    texts = [one for one in found if one.data in TEXTS]
    claim = (
        "Folklore not borne out: annealing 2→0.5 calibrates worse than T = 1 on texts, and is not seen to help digits"
    )
    holds = every(texts, "worse") and every(found, "worse", "open")
    return Finding(claim, f"linear: {shown(asked.on('nll_after', ANNEALED[0]))}", holds)


def against_heating(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """Annealing and heating are told apart on R8 alone."""
    found = asked.on("nll_after", ANNEALED[0], HEATED)
    claim = "Annealing 2→0.5 calibrates better than heating 0.5→2 on R8; on the others they are not told apart"
    holds = all(one.verdict == ("better" if one.data == "r8" else "open") for one in found)
    return Finding(claim, shown(found), holds)


def annealing_at_best(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """At the best rates annealing gains nothing."""
    found = asked.on("nll_after", tuned(ANNEALED[0]), tuned(CONTROL))
    claim = "Each at its better rate, annealing 2→0.5 is not seen to calibrate better than T = 1 on any of the three"
    return Finding(claim, shown(found), every(found, "open", "worse"))


def heating_at_best(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """At the best rates heating gains a little on one."""
    found = asked.on("nll_after", tuned(HEATED), tuned(CONTROL))
    claim = (
        "Each at its better rate, heating 0.5→2 calibrates a few thousandths of a nat better than T = 1 on 20 "
        "Newsgroups, and is not seen to on the others"
    )
    holds = all(one.verdict in (("better",) if one.data == "20ng" else ("open", "worse")) for one in found)
    return Finding(claim, shown(found), bool(found) and holds)


def cold(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """A low T gains a little on texts."""
    found, fast = (asked.on("nll_after", arm, data=TEXTS) for arm in ("T 0.5", f"{CONTROL}, rate × 2"))
    claim = "On texts T = 0.5 calibrates a little better than T = 1 at the same rate: 1 is not always best"
    figures = f"{shown(found)}; twice the rate at T = 1: {shown(fast)}"
    return Finding(claim, figures, every(found, "better"))


def last_is_wrong(_: Answers, trainings: Mapping[str, Trainings]) -> Finding:
    """The temperature that a schedule ends with is no temperature to serve at."""
    rows = {
        name: [np.mean(trainings[name].values(HEATED, figure)) for figure in ("ece_training", "ece_after")]
        for name in TEXTS
    }
    figures = "; ".join(f"{TITLES[name]} {last:.1f} and {fitted:.1f} %" for name, (last, fitted) in rows.items())
    claim = "After heating to 2, ECE on texts is several times as great at the last temperature as at the fitted one"
    return Finding(claim, figures, all(last > 3 * fitted for last, fitted in rows.values()))


def square(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """The square takes the slowing at T = 2 back."""
    found = asked.on("reached", "T 2, inverse_square", "T 2", data=TEXTS)
    level = asked.on("nll_after", "T 2, inverse_square", data=TEXTS)
    claim = "On texts inverse_square takes the slowing at T = 2 back, and leaves no gain over T = 1: it cancels T"
    figures = f"{shown(found, '+.2f', ' epochs')}; NLL against T = 1 {shown(level)}"
    return Finding(claim, figures, every(found, "better") and every(level, "worse", "open"))


def bands(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """Bands replace a rate that was tuned."""
    found = asked.on("accuracy", "2→0.5 linear, bands", "2→0.5 linear", data=TEXTS)
    claim = "On texts bands lose: their rates, whatever was tuned, are an eighth of the control's and less"
    return Finding(claim, shown(found, "+.2f", " points"), every(found, "worse"))


def smoothing(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """Smoothing asks for no higher T."""
    parts = {share: asked.on("nll_after", smoothed(RAISED, share), smoothed(CONTROL, share)) for share in SMOOTHED}
    claim = f"Folklore not borne out: with smoothing {_shares()}, T = 1.35 is not seen to calibrate better than T = 1"
    return Finding(claim, _by_share(parts), all(every(found, "worse", "open") for found in parts.values()))


def smoothing_itself(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """Smoothing goes well with a fitted temperature."""
    parts = {share: asked.on("nll_after", smoothed(CONTROL, share), data=TEXTS) for share in SMOOTHED}
    claim = f"On texts smoothing {_shares()} betters the calibrated NLL: it goes together with a fitted temperature"
    return Finding(claim, _by_share(parts), all(every(found, "better") for found in parts.values()))


def _shares() -> str:
    return " or ".join(f"{share:g}" for share in SMOOTHED)


def _by_share(parts: Mapping[float, Sequence[Result]]) -> str:
    return "; ".join(f"with {share:g}: {shown(found)}" for share, found in parts.items())


def size(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """A wider network gains a little by T = 2 on one."""
    found = asked.on("nll_after", "T 2, wide", f"{CONTROL}, wide")
    claim = (
        "At four times the width T = 2 calibrates a little better than T = 1 on 20 Newsgroups, and is not seen to on "
        "the others"
    )
    holds = all(one.verdict in (("better",) if one.data == "20ng" else ("open", "worse")) for one in found)
    return Finding(claim, shown(found), bool(found) and holds)


def size_at_first(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """A wider network asks for no higher T at first."""
    found = asked.on("nll_after", "5→1 at first, wide", f"{CONTROL}, wide")
    claim = "Folklore not borne out: at four times the width, 5→1 at first is seen to calibrate better on none"
    return Finding(claim, shown(found), every(found, "worse", "open"))


def width_forgives(asked: Answers, _: Mapping[str, Trainings]) -> Finding:
    """A wider network suffers less from T = 2."""
    found = [one for one in asked.grown("nll_after", "T 2") if one.data in TEXTS]
    claim = "What there is in it: on texts T = 2 costs the narrow network more than the wide one, which it slows less"
    return Finding(claim, shown(found), every(found, "better"))


ADVICE = """## Advice

- Train at T = 1 and tune the learning rate: what T changes first of all is how fast the head moves. On texts a
  search may try 0.5, too; a gain of less than a hundredth of a nat is all that was seen.
- Let a temperature be fitted, and serve at it. The last temperature of a schedule says nothing of what suits.
- Use `lr_coupling` `inverse_square` where T is not 1 and the rate was chosen at 1. `bands` replaces the chosen rate.
- Where training starts slowly, raise the rate. A higher temperature helps a saturated softmax alone; none was here.
- Leave T as it is with label smoothing. With a wider network a search may try 2, too: what was gained is again less
  than a hundredth of a nat, and heating's gain on 20 Newsgroups is as small."""
