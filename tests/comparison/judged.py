"""Comparisons made up of numbers, for what is said about them."""

from server.comparison.contrasts import contrasts
from server.comparison.result import ArmResult, Counts
from server.comparison.terms import Label, Terms

LABELS = {
    "distance": Label("distance", greater="is more diverse", lesser="is less diverse"),
    "surprise": Label("surprise", "nats"),
    "vendi": Label("Vendi score"),
}
BASE = [0.60, 0.55, 0.71, 0.64, 0.58, 0.69, 0.62, 0.57, 0.66, 0.63, 0.70, 0.59, 0.61, 0.68]
RAISED = [0.07, 0.02, 0.09, -0.01, 0.11, 0.05, 0.08, 0.03, 0.06, 0.10, -0.02, 0.04, 0.12, 0.05]
JITTER = [0.01, -0.02, 0.02, -0.01, 0.01, 0.00, -0.01, 0.02, -0.01, 0.01, -0.02, 0.00, 0.01, -0.01]


def added(base, more):
    return [None if a is None or b is None else a + b for a, b in zip(base, more, strict=False)]


def arms(prompts=14, hot=RAISED, surprise=1.1, **extra):
    """Make a cold and a hot arm: distances raised by prompt, and surprise by so many nats, a little jittered."""
    base, raised = BASE[:prompts], added(BASE[:prompts], hot[:prompts])
    warmth = [surprise + 3 * jitter for jitter in JITTER[:prompts]]
    return {
        "cold": {"distance": base, "surprise": [2.0 + value for value in base]},
        "hot": {"distance": raised, "surprise": [2.0 + value + more for value, more in zip(base, warmth, strict=True)]},
        **extra,
    }


def terms(values, **changed):
    settled = {
        "baseline": "cold",
        "arms": tuple(values),
        "prompts": len(values["cold"]["distance"]),
        "primaries": ("distance", "surprise"),
        "labels": LABELS,
    }
    return Terms(**{**settled, **changed})


def judged(values, lone=None, **changed):
    settled = terms(values, **changed)
    return contrasts(values, settled, lone), settled


def result(name, completed=224, attempted=224, lengths=(32,), error=None, **counts):
    counted = {"empty": 0, "dropped": 0, **counts}
    return ArmResult(
        name=name, model="toy", framework="torch", resolved={}, metrics={}, intervals={}, per_prompt={},
        counts=Counts(attempted=attempted, completed=completed, failed=attempted - completed, **counted),
        finish_reasons={}, lengths=list(lengths), entropy_by_position=[], rarefaction=[], error=error,
    )  # fmt: skip
