"""Watching a job from the event loop, without polling and without holding the loop up."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from server.jobs.job import Job
from server.jobs.reader import JobReader

POLL_S = 2.0  # only for what other processes change


async def watch(store: JobReader, job_id: str) -> AsyncGenerator[Job, None]:
    """Yield a job now, again whenever it may have changed, and for the last time when it has ended.

    Args:
        store: where the job is.
        job_id: of the job.

    Raises:
        NotFoundError: there is no such job, or no longer.
    """
    changed: asyncio.Future[None] | None = None
    while True:
        if changed is None or changed.done():
            changed = asyncio.wrap_future(store.changes.upcoming(job_id))
        job = await asyncio.to_thread(store.get, job_id)
        yield job
        if job.ended:
            return
        await asyncio.wait((changed,), timeout=POLL_S)


async def wait_for_end(store: JobReader, job_id: str, timeout_s: float | None = None) -> Job:
    """Wait until a job has ended.

    Args:
        store: where the job is.
        job_id: of the job.
        timeout_s: how long at most, > 0; None: for ever.

    Returns:
        The job as it is then, which after the timeout may not have ended.

    Raises:
        NotFoundError: there is no such job, or no longer.
    """
    job = await asyncio.to_thread(store.get, job_id)
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s), aclosing(watch(store, job_id)) as states:
            async for state in states:
                job = state
    return job
