"""The questions of the study of training temperatures, each with the contrasts that answer it."""

from training_arms import CONTROL, COUPLED, RAISED, RATED, RATES, SMOOTHED, smoothed
from training_contrasts import Contrast

CONSTANT = "Does a constant temperature other than 1 help?"
SPEED = "Does a high temperature at first speed training up?"
ANNEALING = "Is annealing from 2 to 0.5 better than constant, or than heating?"
COUPLING = "Does the learning rate's coupling matter, or only take T back?"
SMOOTHING = "Does label smoothing want a higher temperature?"
SIZE = "Does a bigger network want a higher temperature at first?"
RATE = "What does the learning rate alone do?"
QUESTIONS = (CONSTANT, SPEED, ANNEALING, COUPLING, SMOOTHING, SIZE, RATE)


def against(question: str, arms, baseline: str = CONTROL) -> list[Contrast]:
    """Compare each of some arms with one."""
    return [Contrast(question, (arm,), (baseline,)) for arm in arms]


def grown(question: str, arms, suffix: str) -> list[Contrast]:
    """Ask whether what an arm does to the control is more with a suffix than without."""
    return [Contrast(question, (f"{arm}{suffix}", CONTROL), (f"{CONTROL}{suffix}", arm)) for arm in arms]


def tuned(arm: str) -> str:
    """Name an arm at the rate that suits it."""
    return f"{arm}, best rate"


def at_rate(arm: str, rate: float) -> str:
    """Name an arm at a factor of the learning rate."""
    return arm if rate == 1 else f"{arm}, rate × {rate:g}"


TUNED = {tuned(arm): [at_rate(arm, rate) for rate in RATES] for arm in RATED}
ANNEALED, HEATED = ("2→0.5 linear", "2→0.5 cosine"), "0.5→2 linear"
CONTRASTS = [
    *against(CONSTANT, ["T 0.5", "T 2"]),
    *against(SPEED, ["5→1 at first"]),
    *against(ANNEALING, [*ANNEALED, HEATED]),
    *against(ANNEALING, ANNEALED, HEATED),
    *against(ANNEALING, [tuned(ANNEALED[0]), tuned(HEATED)], tuned(CONTROL)),
    *against(ANNEALING, [tuned(ANNEALED[0])], tuned(HEATED)),
    *against(RATE, [f"{CONTROL}, rate × 2"]),
    *(
        one
        for name, coupling in COUPLED
        for one in (
            *against(COUPLING, [f"{name}, {coupling}"], name),
            *against(COUPLING, [f"{name}, {coupling}"]),
        )
    ),
    *against(SMOOTHING, [smoothed(CONTROL, share) for share in SMOOTHED]),
    *(one for share in SMOOTHED for one in against(SMOOTHING, [smoothed(RAISED, share)], smoothed(CONTROL, share))),
    *against(SIZE, [f"{CONTROL}, wide"]),
    *against(SIZE, [f"{name}, wide" for name in ("T 2", "5→1 at first")], f"{CONTROL}, wide"),
    *grown(SIZE, ["T 2", "5→1 at first"], ", wide"),
]
