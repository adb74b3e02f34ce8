"""A job's events as server-sent events, which a client that was cut off can take up where it left them."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from starlette.requests import Request

from server.api.event_stream import DONE, EventStream, as_event
from server.api.failures import describe_failure
from server.errors import InvalidRequestError
from server.jobs.job import Event, Job
from server.jobs.reader import JobReader
from server.jobs.watching import watch

log = logging.getLogger(__name__)

PAGE = 500
ALIVE_EVERY_S = 15.0
_ALIVE = ": alive\n\n"  # a comment, for proxies that close a connection on which nothing moves

Describe = Callable[[Event], dict[str, Any]]


async def stream_events(request: Request, store: JobReader, job_id: str, describe: Describe = asdict) -> EventStream:
    """Answer with a job's events, past and to come, until it has ended; the last one is `[DONE]`.

    Each event's `id` is its number; those that say how far the job is have none, and are not repeated.

    Args:
        request: its `Last-Event-ID` header names the last event that the client has seen; without it, none.
        store: where the job is.
        job_id: of the job.
        describe: writes an event as JSON.

    Raises:
        NotFoundError: there is no such job.
        InvalidRequestError: `Last-Event-ID` is no number of an event.
    """
    events = _events(store, job_id, last_event_id(request), describe, request.state.request_id)
    return await EventStream.begin(request, events)


def last_event_id(request: Request) -> int:
    """Read the number of the last event that a client has seen; 0 is none.

    Raises:
        InvalidRequestError: the header is no number of an event.
    """
    given = request.headers.get("last-event-id", "0")
    if not (given.isascii() and given.isdigit() and len(given) <= 18):
        raise InvalidRequestError(
            "Last-Event-ID must be the id of an event of this stream, a whole number; leave it out for all events",
            param="Last-Event-ID",
        )
    return int(given)


async def _events(
    store: JobReader, job_id: str, seen: int, describe: Describe, request_id: str
) -> AsyncGenerator[str, None]:
    begun = False
    try:
        async with aclosing(_news(store, job_id, seen, describe)) as news:
            async for text in news:
                yield text
                begun = True
    except Exception as error:
        if not begun:
            raise  # it can still have a status code
        log.exception("the events of job %s could not be read on", job_id)
        yield as_event(describe_failure(error, request_id))
        return
    yield DONE


async def _news(store: JobReader, job_id: str, seen: int, describe: Describe) -> AsyncGenerator[str, None]:
    shown: dict[str, Any] | None = None
    sent_s = time.monotonic()
    async with aclosing(watch(store, job_id)) as states:
        async for job in states:
            while events := await asyncio.to_thread(store.events, job_id, after=seen, limit=PAGE):
                for event in events:
                    yield f"id: {event.number}\n{as_event(describe(event))}"
                seen, sent_s = events[-1].number, time.monotonic()
            progress = _progress(job)
            if progress != shown:
                yield as_event(progress)
                shown, sent_s = progress, time.monotonic()
            elif time.monotonic() - sent_s >= ALIVE_EVERY_S:
                yield _ALIVE
                sent_s = time.monotonic()


def _progress(job: Job) -> dict[str, Any]:
    return {"type": "progress", "status": job.status, "progress": job.progress, "eta_s": job.eta_s}
