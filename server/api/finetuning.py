"""/v1/fine_tuning: classifiers trained with a temperature-scaled loss, as jobs in the shape of OpenAI's API."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.api import finetuning_examples as examples
from server.api.body import read_body
from server.api.documented import answer, failures, json_body
from server.api.files import file_store
from server.api.finetuning_job import describe, describe_checkpoint, describe_event
from server.api.idempotency import idempotency_key
from server.api.job_events import stream_events
from server.api.job_store import job_store
from server.api.paging import as_page
from server.api.schemas.finetuning import FinetuneRequest
from server.api.schemas.finetuning_answers import (
    CheckpointList,
    FinetuneAnswer,
    FinetuneDeletedAnswer,
    FinetuneEventList,
    FinetuneList,
)
from server.errors import InvalidRequestError, NotFoundError
from server.finetuning.data.findings import Findings
from server.finetuning.jobs.job import EPOCH_PREFIX, OUTCOME, paths_of
from server.finetuning.jobs.service import Finetuning
from server.finetuning.plan import Plan
from server.finetuning.settling import plan_of
from server.jobs.errors import StorageError
from server.jobs.job import Job, Kind
from server.jobs.status import Status
from server.jobs.store import JobStore

MAX_PAGE = 100
MAX_EVENTS = 1000
router = APIRouter()


@router.post(
    "/v1/fine_tuning/jobs",
    responses=answer(FinetuneAnswer, examples.JOB) | failures(400, 404, 408, 409, 413, 415, 503),
    openapi_extra=json_body(FinetuneRequest, examples.REQUEST),
)
async def create_job(request: Request) -> Response:
    """Fine-tune a classifier: files are validated, then it queues; an `Idempotency-Key` makes a repeat harmless."""
    body, plan = await _settled(request)
    store, room = job_store(request.app.state), finetuning(request.app.state)
    await asyncio.to_thread(paths_of, plan, file_store(request))
    job = await asyncio.to_thread(
        store.submit,
        Kind.FINETUNE,
        plan.model_dump(mode="json"),
        metadata=body.metadata or {},
        status=Status.VALIDATING_FILES,
        idempotency_key=idempotency_key(request),
    )
    request.state.facts["job"] = job.id
    if job.status is Status.VALIDATING_FILES:
        room.validator.submitted(job)
    return await _described(request, store, job)


@router.post(
    "/v1/fine_tuning/validate",
    responses=answer(Findings, examples.VALIDATION) | failures(400, 404, 408, 413, 415, 503),
    openapi_extra=json_body(FinetuneRequest, examples.REQUEST),
)
async def validate(request: Request) -> Response:
    """Say what a fine-tune of this body would train on, class by class, and every line that is wrong."""
    _, plan = await _settled(request)
    room = finetuning(request.app.state)
    return JSONResponse(await asyncio.to_thread(room.validator.check, plan))


@router.get("/v1/fine_tuning/jobs", responses=answer(FinetuneList, examples.JOB_LIST) | failures(400, 404, 503))
async def list_jobs(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """List fine-tunes, newest first; `after` is the id of the last one seen."""
    store, room = job_store(request.app.state), finetuning(request.app.state)

    def read() -> dict[str, Any]:
        jobs = store.list_jobs(Kind.FINETUNE, limit=limit + 1, after=after)
        return as_page([describe(job, store, room.classifiers) for job in jobs[:limit]], has_more=len(jobs) > limit)

    return JSONResponse(await asyncio.to_thread(read))


@router.get("/v1/fine_tuning/jobs/{job_id}", responses=answer(FinetuneAnswer, examples.JOB) | failures(404, 503))
async def get_job(request: Request, job_id: str) -> Response:
    """Show a fine-tune."""
    return await _described(request, *await find(request, job_id))


@router.delete(
    "/v1/fine_tuning/jobs/{job_id}",
    responses=answer(FinetuneDeletedAnswer, examples.JOB_DELETED) | failures(404, 409, 503),
)
async def delete_job(request: Request, job_id: str) -> Response:
    """Delete a fine-tune that has ended, with its events and its files; its classifier stays."""
    store, job = await find(request, job_id)
    await asyncio.to_thread(store.delete, job.id)
    return JSONResponse({"id": job.id, "object": "fine_tuning.job", "deleted": True})


@router.post(
    "/v1/fine_tuning/jobs/{job_id}/cancel", responses=answer(FinetuneAnswer, examples.JOB) | failures(404, 409, 503)
)
async def cancel_job(request: Request, job_id: str) -> Response:
    """Cancel a fine-tune: at once where it waits, within seconds where it runs."""
    return await _ordered(request, job_id, JobStore.cancel)


@router.post(
    "/v1/fine_tuning/jobs/{job_id}/pause", responses=answer(FinetuneAnswer, examples.JOB) | failures(404, 409, 503)
)
async def pause_job(request: Request, job_id: str) -> Response:
    """Pause a fine-tune: it keeps a checkpoint, and makes room for the next in the queue."""
    return await _ordered(request, job_id, JobStore.pause)


@router.post(
    "/v1/fine_tuning/jobs/{job_id}/resume", responses=answer(FinetuneAnswer, examples.JOB) | failures(404, 409, 503)
)
async def resume_job(request: Request, job_id: str) -> Response:
    """Queue a paused fine-tune again; it goes on from its checkpoint, and ends as if it had not been paused."""
    return await _ordered(request, job_id, JobStore.resume)


@router.get(
    "/v1/fine_tuning/jobs/{job_id}/events",
    responses=answer(FinetuneEventList, examples.EVENT_LIST, events=examples.EVENTS) | failures(400, 404, 503),
)
async def job_events(
    request: Request,
    job_id: str,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 20,
    after: Annotated[str | None, Query(max_length=64)] = None,
    stream: bool = False,
) -> Response:
    """List what happened, newest first; with `stream=true` follow it, oldest first, until the fine-tune has ended."""
    store, job = await find(request, job_id)
    if stream:
        return await stream_events(request, store, job.id, describe_event)
    before = None if after is None else _number_of(after)
    events = await asyncio.to_thread(store.last_events, job.id, limit=limit + 1, before=before)
    return JSONResponse(as_page([describe_event(own) for own in events[:limit]], has_more=len(events) > limit))


@router.get(
    "/v1/fine_tuning/jobs/{job_id}/checkpoints",
    responses=answer(CheckpointList, examples.CHECKPOINT_LIST) | failures(400, 404, 503),
)
async def job_checkpoints(
    request: Request,
    job_id: str,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 10,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """List the epochs, newest first, with what the validation part said after each."""
    store, job = await find(request, job_id)
    checkpoints = await asyncio.to_thread(_checkpoints, store, job)
    if after is not None:
        ids = [own["id"] for own in checkpoints]
        if after not in ids:
            raise NotFoundError("there is no checkpoint of the id in after; begin from the first page", param="after")
        checkpoints = checkpoints[ids.index(after) + 1 :]
    return JSONResponse(as_page(checkpoints[:limit], has_more=len(checkpoints) > limit))


def finetuning(state: State) -> Finetuning:
    """Return the room of fine-tuning.

    Raises:
        UnavailableError: the server is loading or stopping.
        StorageError: the data directory cannot be used.
    """
    job_store(state)
    room: Finetuning | StorageError = state.finetuning
    if isinstance(room, StorageError):
        raise room
    return room


async def find(request: Request, job_id: str) -> tuple[JobStore, Job]:
    """Return a fine-tune, and where it is.

    Raises:
        NotFoundError: there is none of this id.
    """
    store = job_store(request.app.state)
    job = await asyncio.to_thread(store.get, job_id)
    if job.kind is not Kind.FINETUNE:
        raise NotFoundError("there is no fine-tune of this id; GET /v1/fine_tuning/jobs lists them", param="job_id")
    return store, job


async def _settled(request: Request) -> tuple[FinetuneRequest, Plan]:
    body = await read_body(request, FinetuneRequest)
    room = finetuning(request.app.state)
    settings = request.app.state.settings
    return body, await asyncio.to_thread(plan_of, body, room.folders, framework=settings.framework)


async def _described(request: Request, store: JobStore, job: Job) -> Response:
    return JSONResponse(await asyncio.to_thread(describe, job, store, finetuning(request.app.state).classifiers))


async def _ordered(request: Request, job_id: str, order: Callable[[JobStore, str], Job]) -> Response:
    store, job = await find(request, job_id)
    return await _described(request, store, await asyncio.to_thread(order, store, job.id))


def _checkpoints(store: JobStore, job: Job) -> list[dict[str, Any]]:
    result = store.result(job.id)
    best = result[OUTCOME]["best_epoch"] if result else None
    keys = [key for key in reversed(store.part_keys(job.id)) if key.startswith(EPOCH_PREFIX)]
    epochs = [epoch for key in keys if (epoch := store.part(job.id, key)) is not None]
    return [
        describe_checkpoint(job, epoch, result["classifier"] if result and epoch["epoch"] == best else None)
        for epoch in epochs
    ]


def _number_of(event_id: str) -> int:
    prefix, _, number = event_id.rpartition("-")
    if prefix != "ftevent" or not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise InvalidRequestError(
            "after must be the id of an event of this job; begin from the first page", param="after"
        )
    return int(number)
