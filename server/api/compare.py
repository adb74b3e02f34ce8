"""POST /compare and its jobs: sampler settings A/B, with error bars, in the background."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from server.api import examples
from server.api.body import read_body
from server.api.disconnect import until_disconnect
from server.api.documented import answer, failures, file_answer, json_body
from server.api.event_stream import EventStream
from server.api.idempotency import idempotency_key
from server.api.job_events import stream_events
from server.api.job_store import job_store
from server.api.report_answer import report_answer
from server.api.schemas.answers import ComparisonAnswer, ComparisonList, DeletedAnswer
from server.api.schemas.compare import CompareRequest
from server.api.served import find_model
from server.comparison.part import Part, key_of
from server.comparison.plan import Plan, plan_of
from server.comparison.preparation import prepare
from server.comparison.result import Report
from server.errors import NotFoundError
from server.jobs.errors import JobStateError
from server.jobs.job import Job, Kind
from server.jobs.status import Status
from server.jobs.store import JobStore
from server.jobs.watching import wait_for_end

MAX_PAGE = 100
router = APIRouter()


@router.post(
    "/compare",
    responses=answer(ComparisonAnswer, examples.COMPARE_ANSWER, status=202)
    | answer(ComparisonAnswer, examples.COMPARE_ENDED)
    | failures(400, 404, 408, 409, 413, 415, 503),
    openapi_extra=json_body(CompareRequest, examples.COMPARE),
)
async def compare(request: Request) -> Response:
    """Queue a comparison, or with `wait` answer when it has ended; an `Idempotency-Key` makes a repeat harmless."""
    body = await read_body(request, CompareRequest)
    state = request.app.state
    first = find_model(state, None)
    plan = plan_of(body, first_model=first.name, max_tokens=state.settings.max_comparison_tokens)
    prepare(plan, state.models)  # what is wrong with an arm is said now
    store = job_store(state)
    key = idempotency_key(request)
    job = await asyncio.to_thread(store.submit, Kind.COMPARISON, plan.model_dump(mode="json"), idempotency_key=key)
    request.state.facts["job"] = job.id
    if not body.wait:
        return JSONResponse(describe(job), 202)
    job = await until_disconnect(request.receive, wait_for_end(store, job.id))
    return JSONResponse(describe(job, await _result(store, job)))


@router.get("/compare", responses=answer(ComparisonList, examples.COMPARE_LIST) | failures(400, 404, 503))
async def list_comparisons(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """List comparisons, newest first, without their reports; `after` is the id of the last one seen."""
    store = job_store(request.app.state)
    jobs = await asyncio.to_thread(store.list_jobs, Kind.COMPARISON, limit=limit + 1, after=after)
    return JSONResponse({"data": [describe(job) for job in jobs[:limit]], "has_more": len(jobs) > limit})


@router.get("/compare/{comparison_id}", responses=answer(ComparisonAnswer, examples.COMPARE_ENDED) | failures(404, 503))
async def get_comparison(request: Request, comparison_id: str) -> Response:
    """Show a comparison, with its report once it has succeeded."""
    store, job = await _find(request, comparison_id)
    return JSONResponse(describe(job, await _result(store, job)))


@router.delete(
    "/compare/{comparison_id}", responses=answer(DeletedAnswer, examples.COMPARE_DELETED) | failures(404, 409, 503)
)
async def delete_comparison(request: Request, comparison_id: str) -> Response:
    """Delete a comparison that has ended, with all that it has drawn."""
    store, job = await _find(request, comparison_id)
    await asyncio.to_thread(store.delete, job.id)
    return JSONResponse({"id": job.id, "deleted": True})


@router.post(
    "/compare/{comparison_id}/cancel",
    responses=answer(ComparisonAnswer, examples.COMPARE_ANSWER) | failures(404, 409, 503),
)
async def cancel_comparison(request: Request, comparison_id: str) -> Response:
    """Cancel a comparison: at once where it waits, within a second where it runs."""
    store, job = await _find(request, comparison_id)
    return JSONResponse(describe(await asyncio.to_thread(store.cancel, job.id)))


@router.get(
    "/compare/{comparison_id}/events",
    responses=file_answer("text/event-stream", examples.COMPARE_EVENTS) | failures(400, 404, 503),
)
async def comparison_events(request: Request, comparison_id: str) -> EventStream:
    """Stream what happens to a comparison until it has ended; `Last-Event-ID` goes on where a client was cut off."""
    store, job = await _find(request, comparison_id)
    return await stream_events(request, store, job.id)


@router.get(
    "/compare/{comparison_id}/completions.jsonl",
    responses=file_answer("application/x-ndjson", examples.COMPARE_LINE) | failures(404, 503),
)
async def completions(request: Request, comparison_id: str) -> Response:
    """Download the completions of all finished prompts, a JSON object a line, with every figure of every token."""
    store, job = await _find(request, comparison_id)
    return StreamingResponse(_lines(store, job), media_type="application/x-ndjson")


@router.get(
    "/compare/{comparison_id}/report.html",
    responses=file_answer("text/html", "<!doctype html>…") | failures(404, 409, 503),
)
async def report(request: Request, comparison_id: str) -> Response:
    """Show the report of a comparison that has succeeded as a page that needs no network."""
    store, job = await _find(request, comparison_id)
    result = await _result(store, job)
    if result is None:
        raise JobStateError(f"the comparison is {job.status.value}; its report is there when it has succeeded")
    return report_answer(await asyncio.to_thread(_page, store, job, result))


def describe(job: Job, report: dict[str, Any] | None = None) -> dict[str, Any]:
    """Describe a comparison.

    Args:
        job: of the comparison.
        report: what it found; None: nothing yet, or it is not asked for.
    """
    return {
        "id": job.id,
        "object": "comparison",
        "status": job.status.value,
        "progress": job.progress,
        "eta_s": job.eta_s,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "plan": {name: value for name, value in job.request.items() if name != "prompts"},
        "error": job.error,
        "report": report,
    }


async def _find(request: Request, comparison_id: str) -> tuple[JobStore, Job]:
    store = job_store(request.app.state)
    job = await asyncio.to_thread(store.get, comparison_id)
    if job.kind is not Kind.COMPARISON:
        raise NotFoundError("there is no comparison of this id; GET /compare lists them", param="comparison_id")
    return store, job


async def _result(store: JobStore, job: Job) -> dict[str, Any] | None:
    return await asyncio.to_thread(store.result, job.id) if job.status is Status.SUCCEEDED else None


async def _lines(store: JobStore, job: Job) -> AsyncGenerator[str, None]:
    for index in range(len(job.request["prompts"])):
        payload = await asyncio.to_thread(store.part, job.id, key_of(index))
        if payload is not None:
            yield "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in payload["completions"])


def _page(store: JobStore, job: Job, result: dict[str, Any]) -> str:
    from server.comparison.report import report_html  # brings Plotly, which takes a second

    return report_html(Report.model_validate(result), (own for part in _parts(store, job) for own in part.completions))


def _parts(store: JobStore, job: Job) -> Iterator[Part]:
    for index in range(len(Plan.model_validate(job.request).prompts)):
        payload = store.part(job.id, key_of(index))
        if payload is not None:
            yield Part.model_validate(payload)
