"""Running: a comparison's work, prompt by prompt; what is finished is kept, and not done again."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from server.comparison.outcome import outcome_of
from server.comparison.part import Part, key_of, part_of
from server.comparison.plan import Plan
from server.comparison.preparation import Preparation
from server.comparison.result import Report
from server.comparison.sampling import Sampling
from server.errors import KelvinError

OnProgress = Callable[[int, float | None], None]


class Parts(Protocol):
    """Where finished parts are kept."""

    def part(self, key: str) -> dict[str, Any] | None:
        """Return a finished part, or None."""

    def save_part(self, key: str, payload: dict[str, Any]) -> None:
        """Keep a finished part."""


async def run(plan: Plan, preparation: Preparation, kept: Parts, on_progress: OnProgress) -> list[Part]:
    """Sample and measure every prompt that has not been yet.

    Args:
        plan: of the comparison.
        preparation: of its arms.
        kept: finished parts, of this run and earlier ones.
        on_progress: told after each prompt how many are finished, and how many seconds are left, None at first.

    Returns:
        The parts of all prompts, in their order.

    Raises:
        KelvinError: an engine has stopped, or a part could not be kept.
    """
    parts = {index: part for index in range(len(plan.prompts)) if (part := _load(kept, index)) is not None}
    sampling = Sampling(preparation.writers, plan.samples_per_prompt)
    open_places = asyncio.Semaphore(sampling.prompts_at_once)
    units = {name: arm.units for name, arm in preparation.arms.items()}
    started_s, done_before = time.monotonic(), len(parts)
    on_progress(len(parts), None)

    async def finish(index: int) -> None:
        async with open_places:
            written = await sampling.write(index, plan.prompts[index])
            parts[index] = part_of(index, written, plan.names, units)
            kept.save_part(key_of(index), parts[index].model_dump(mode="json"))
            left = len(plan.prompts) - len(parts)
            on_progress(len(parts), left * (time.monotonic() - started_s) / (len(parts) - done_before))

    try:
        async with asyncio.TaskGroup() as tasks:
            for index in range(len(plan.prompts)):
                if index not in parts:
                    tasks.create_task(finish(index))
    except BaseExceptionGroup as group:
        raise _first(group) from None
    return [parts[index] for index in range(len(plan.prompts))]


def report_of(plan: Plan, preparation: Preparation, parts: list[Part]) -> Report:
    """Judge a comparison whose prompts are all finished.

    Args:
        plan: of the comparison.
        preparation: of its arms.
        parts: of all prompts, in their order.
    """
    outcome = outcome_of(parts, preparation.terms, preparation.arms)
    return Report(
        baseline=plan.baseline,
        prompts=plan.prompts,
        samples_per_prompt=plan.samples_per_prompt,
        max_tokens=plan.max_tokens,
        seed=plan.seed,
        common_random_numbers=plan.common_random_numbers,
        token_budget=[part.budget for part in parts],
        arms=outcome.arms,
        comparisons=outcome.comparisons,
        warnings=outcome.warnings,
        verdict=outcome.verdict,
    )


def _load(kept: Parts, index: int) -> Part | None:
    payload = kept.part(key_of(index))
    return None if payload is None else Part.model_validate(payload)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what a group was raised for: a KelvinError if there is one, else the first."""
    leaves = list(_leaves(group))
    return next((error for error in leaves if isinstance(error, KelvinError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
