"""What a fine-tune has left: its report as a page, its files, and answers of its classifier."""

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from server.api import finetuning_examples as examples
from server.api.body import read_body
from server.api.disconnect import until_disconnect
from server.api.documented import answer, failures, file_answer, json_body
from server.api.finetuning import find, finetuning
from server.api.report_answer import report_answer
from server.api.schemas.finetuning import ClassifyRequest
from server.api.schemas.finetuning_answers import ClassifyAnswer
from server.errors import InvalidRequestError, NotFoundError
from server.finetuning.jobs.artifacts import artifacts
from server.finetuning.jobs.job import OUTCOME
from server.finetuning.outcome import Outcome
from server.finetuning.plan import Plan
from server.finetuning.serving.classifying import Classified
from server.jobs.errors import JobStateError

MAX_INPUTS = 4096
router = APIRouter()


@router.get(
    "/v1/fine_tuning/jobs/{job_id}/report.html",
    responses=file_answer("text/html", "<!doctype html>…") | failures(404, 409, 503),
)
async def job_report(request: Request, job_id: str) -> Response:
    """Show the report of a fine-tune that has succeeded as a page that needs no network."""
    store, job = await find(request, job_id)
    result = await asyncio.to_thread(store.result, job.id)
    if result is None:
        raise JobStateError(f"the fine-tune is {job.status.value}; its report is there when it has succeeded")
    return report_answer(await asyncio.to_thread(_page, Plan.model_validate(job.request), result))


@router.get(
    "/v1/fine_tuning/jobs/{job_id}/artifacts/{name}",
    responses=file_answer("application/octet-stream", "…") | failures(404, 503),
)
async def job_artifact(request: Request, job_id: str, name: str) -> Response:
    """Download a file that the fine-tune has made; `result_files` of the job lists them."""
    store, job = await find(request, job_id)
    room = finetuning(request.app.state)
    files = await asyncio.to_thread(artifacts, job, store, room.classifiers)
    if name not in files:
        raise NotFoundError("the fine-tune has no such file; result_files of the job lists them", param="name")
    return FileResponse(files[name], media_type="application/octet-stream", filename=name)


@router.post(
    "/classify",
    responses=answer(ClassifyAnswer, examples.CLASSIFY_ANSWER) | failures(400, 404, 408, 413, 415, 503),
    openapi_extra=json_body(ClassifyRequest, examples.CLASSIFY),
)
async def classify(request: Request) -> Response:
    """Classify inputs with a fine-tuned classifier, at its own temperature or at another."""
    body = await read_body(request, ClassifyRequest)
    room = finetuning(request.app.state)
    inputs = _inputs(body)
    future = room.classifying.submit(body.model, inputs, body.temperature)
    classified = await until_disconnect(request.receive, asyncio.wrap_future(future))
    request.state.facts["inputs"] = len(inputs)
    return JSONResponse(
        {
            "object": "list",
            "model": body.model,
            "data": [_answer(index, classified, body) for index in range(len(inputs))],
            "temperature": classified.temperature,
        }
    )


def _inputs(body: ClassifyRequest) -> list[Any]:
    inputs = [body.input] if isinstance(body.input, str) else body.input
    if not 0 < len(inputs) <= MAX_INPUTS:
        raise InvalidRequestError(
            f"input must hold 1 to {MAX_INPUTS} texts or rows; send several requests", param="input"
        )
    if len({type(own) for own in inputs}) > 1:
        raise InvalidRequestError("input must hold texts or rows, not both", param="input")
    return inputs


def _answer(index: int, classified: Classified, body: ClassifyRequest) -> dict[str, Any]:
    row = classified.probabilities[index]
    order = (-row).argsort(kind="stable")
    best = float(row[order[0]])
    abstains = body.abstain_below is not None and best < body.abstain_below
    return {
        "index": index,
        "label": None if abstains else classified.classes[order[0]],
        "probability": best,
        "probabilities": {classified.classes[place]: float(row[place]) for place in order[: body.top_k]},
    }


def _page(plan: Plan, result: dict[str, Any]) -> str:
    from server.finetuning.reporting.report import report_html  # brings Plotly, which takes a second

    return report_html(Outcome.model_validate(result[OUTCOME]), plan)
