"""Part: what one prompt of a comparison gave; a restart keeps it whole or does the prompt again."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from server.comparison.completion import Completion
from server.comparison.metrics import measure, token_budget
from server.comparison.result import Metric
from server.comparison.sampling import Written
from server.comparison.units import Units


class ArmPart(BaseModel):
    """One arm's share of a prompt: its metrics, and what became of its samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: dict[Metric, float | None]
    completed: int
    failed: int
    empty: int
    dropped: int
    error: str | None


class Part(BaseModel):
    """One prompt: its token budget, the arms' shares in their order, and all completions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_index: int
    budget: int | None
    arms: dict[str, ArmPart]
    completions: list[Completion]


def key_of(prompt_index: int) -> str:
    """Return the name under which a prompt's part is kept."""
    return f"prompt-{prompt_index}"


def part_of(prompt_index: int, written: Written, arms: Sequence[str], units: Mapping[str, Units]) -> Part:
    """Measure what the arms wrote for a prompt.

    Args:
        prompt_index: from 0.
        written: by all arms.
        arms: their names; one whose samples all failed among them.
        units: of each arm.
    """
    budget = token_budget([len(units[own.arm].of(own)) for own in written.completions])
    shares = {}
    for arm in arms:
        own = [completion for completion in written.completions if completion.arm == arm]
        measured = measure(own, budget, units[arm])
        shares[arm] = ArmPart(
            metrics=measured.metrics,
            completed=len(own),
            failed=written.failed.get(arm, 0),
            empty=measured.empty,
            dropped=measured.dropped,
            error=written.errors.get(arm),
        )
    return Part(prompt_index=prompt_index, budget=budget, arms=shares, completions=written.completions)
