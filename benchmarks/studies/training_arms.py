"""The arms of the study of training temperatures: what is trained on which data, and with which seeds."""

from dataclasses import dataclass

from server.finetuning.plan import Coupling, TemperaturePlan

SMOOTHED = (0.05, 0.1)


@dataclass(frozen=True)
class Data:
    """A data set and how it is trained on.

    Attributes:
        name: as `benchmarks/finetune.py` knows it.
        title: in the page.
        method: of the fine-tune.
        epochs: of a training.
        batch_size: rows of a step.
        learning_rate: at T = 1, before warm-up over 5 % of the steps and cosine decay.
        weight_decay: of AdamW.
        seeds: trainings of each arm, from seed 0.
    """

    name: str
    title: str
    method: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seeds: int


DATA = (
    Data("digits", "digits", "mlp", epochs=15, batch_size=32, learning_rate=4e-3, weight_decay=0.0, seeds=8),
    Data("r8", "R8", "dan", epochs=5, batch_size=64, learning_rate=8e-3, weight_decay=0.01, seeds=8),
    Data("20ng", "20 Newsgroups", "dan", epochs=3, batch_size=128, learning_rate=8e-3, weight_decay=0.01, seeds=8),
)
LEAST_TEXTS, MAX_LENGTH = 10, 128
"""In how many training texts a token must be, and how many of a text are read: less than in a fine-tune, so that a
training takes seconds."""
USUAL = {"mlp": {"hidden": (128, 64)}, "dan": {"embedding": 64}}
WIDE = {"mlp": {"hidden": (512, 256)}, "dan": {"embedding": 256}}
"""Both networks, and those that are four times as wide."""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: in tables.
        temperature: of the loss.
        rate: factor of the learning rate.
        smoothing: of labels.
        wide: whether layers are four times as wide.
    """

    name: str
    temperature: TemperaturePlan
    rate: float = 1.0
    smoothing: float = 0.0
    wide: bool = False


def temperature(schedule: str, start: float, end: float, coupling: Coupling = "none", points=()) -> TemperaturePlan:
    """Return a plan for the temperature that moves with every step."""
    return TemperaturePlan.model_validate(
        {
            "schedule": schedule, "start": start, "end": end, "steps": 2, "points": points, "per": "step",
            "lr_coupling": coupling,
        }
    )  # fmt: skip


SCHEDULES = {
    "T 0.5": ("constant", 0.5, 0.5),
    "T 2": ("constant", 2.0, 2.0),
    "2→0.5 linear": ("linear", 2.0, 0.5),
    "2→0.5 cosine": ("cosine", 2.0, 0.5),
    "0.5→2 linear": ("linear", 0.5, 2.0),
    "5→1 at first": ("piecewise", 5.0, 1.0, "none", ((0.0, 5.0), (0.2, 1.0))),
}
COUPLED: tuple[tuple[str, Coupling], ...] = (
    ("T 2", "inverse_square"),
    ("2→0.5 linear", "bands"),
)
CONTROL = "T 1"
RATED, RATES = (CONTROL, "2→0.5 linear", "0.5→2 linear"), (1, 2)
"""What is also trained at twice the rate, so that each can be judged at the rate that suits it."""
RAISED = "T 1.35"


def coupled(schedule: tuple, coupling: Coupling) -> TemperaturePlan:
    """Return a schedule's plan with a coupling of the learning rate."""
    return temperature(*schedule).model_copy(update={"lr_coupling": coupling})


def smoothed(arm: str, share: float) -> str:
    """Name an arm whose labels are smoothed."""
    return f"{arm}, smoothing {share:g}"


def _arms() -> list[Arm]:
    one, raised = temperature("constant", 1.0, 1.0), temperature("constant", 1.35, 1.35)
    plans = {CONTROL: one} | {name: temperature(*schedule) for name, schedule in SCHEDULES.items()}
    return [
        *(Arm(name, plan) for name, plan in plans.items()),
        *(Arm(f"{name}, rate × 2", plans[name], rate=2.0) for name in RATED),
        *(Arm(f"{name}, {coupling}", coupled(SCHEDULES[name], coupling)) for name, coupling in COUPLED),
        *(
            Arm(smoothed(name, share), plan, smoothing=share)
            for share in SMOOTHED
            for name, plan in ((CONTROL, one), (RAISED, raised))
        ),
        *(Arm(f"{name}, wide", plans[name], wide=True) for name in (CONTROL, "T 2", "5→1 at first")),
    ]


ARMS = _arms()
"""All are trained on every data set."""
