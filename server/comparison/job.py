"""The job of a comparison: runs a plan on its runner's thread, for as long as nobody stops it."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from server.comparison.plan import Plan
from server.comparison.preparation import prepare
from server.comparison.running import report_of, run
from server.jobs.context import JobContext
from server.jobs.job import Job
from server.loaded import LoadedModel

CHECK_S = 0.25

_Result = TypeVar("_Result")


class Models(Protocol):
    """Gives the models that are served."""

    def __call__(self) -> Mapping[str, LoadedModel]:
        """Return them by name."""


class ComparisonJob:
    """Handles the jobs of a JobRunner."""

    def __init__(self, models: Models) -> None:
        """Prepare for jobs.

        Args:
            models: asked when a job begins.
        """
        self._models = models

    def __call__(self, job: Job, context: JobContext) -> dict[str, Any]:
        """Run a job's plan, and return the report as JSON.

        Args:
            job: its request is a plan.
            context: keeps the parts, and says when to stop.

        Raises:
            KelvinError: a model is not served any more, or has stopped.
        """
        plan = Plan.model_validate(job.request)
        preparation = prepare(plan, self._models())

        def on_progress(finished: int, eta_s: float | None) -> None:
            context.report(finished / (len(plan.prompts) + 1), eta_s)  # what is left is the report

        parts = asyncio.run(_unless_stopped(run(plan, preparation, context, on_progress), context))
        return report_of(plan, preparation, parts).model_dump(mode="json")


async def _unless_stopped(work: Coroutine[Any, Any, _Result], context: JobContext) -> _Result:
    """Do some work; if the job is to stop, cancel it and raise what says so."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=CHECK_S))[0]:
            context.raise_if_cancelled()
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})
