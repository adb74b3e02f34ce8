"""/v1/files: data sets for fine-tuning, in the shapes of OpenAI's API."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response

from server.api import finetuning_examples as examples
from server.api.documented import answer, failures, file_answer, form_body
from server.api.job_store import job_store
from server.api.paging import as_page
from server.api.schemas.finetuning_answers import FileAnswer, FileDeletedAnswer, FileList
from server.errors import InvalidRequestError, NotFoundError, UnavailableError
from server.files.store import FileStore
from server.files.stored_file import StoredFile
from server.jobs.errors import JobStateError, StorageError
from server.jobs.job import Kind

if TYPE_CHECKING:
    from server.files.upload import Upload

PIECE_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 3600.0
MAX_PAGE = 10_000
router = APIRouter()


@router.post(
    "/v1/files",
    responses=answer(FileAnswer, examples.FILE) | failures(400, 408, 413, 415, 503),
    openapi_extra=form_body(examples.FORM),
)
async def upload_file(request: Request) -> Response:
    """Upload a data set, as a form with the `file` and its `purpose`, which is `fine-tune`."""
    files = file_store(request)
    file = await _receive(request, files)
    return JSONResponse(describe(file))


@router.get("/v1/files", responses=answer(FileList, examples.FILE_LIST) | failures(400, 404, 503))
async def list_files(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    after: Annotated[str | None, Query(max_length=64)] = None,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """List files, newest first, or oldest first with `order=asc`; `after` is the id of the last one seen."""
    files = await asyncio.to_thread(file_store(request).list)
    if order == "asc":
        files.reverse()
    if after is not None:
        ids = [file.id for file in files]
        if after not in ids:
            raise NotFoundError("there is no file of the id in after; begin from the first page", param="after")
        files = files[ids.index(after) + 1 :]
    files = [file for file in files if purpose in (None, file.purpose)]
    return JSONResponse(as_page([describe(file) for file in files[:limit]], has_more=len(files) > limit))


@router.get("/v1/files/{file_id}", responses=answer(FileAnswer, examples.FILE) | failures(404, 503))
async def get_file(request: Request, file_id: str) -> Response:
    """Show a file."""
    return JSONResponse(describe(await asyncio.to_thread(file_store(request).get, file_id)))


@router.get(
    "/v1/files/{file_id}/content",
    responses=file_answer("application/octet-stream", examples.ROWS) | failures(404, 503),
)
async def file_content(request: Request, file_id: str) -> Response:
    """Download a file, byte for byte."""
    files = file_store(request)
    about = await asyncio.to_thread(files.get, file_id)
    path = await asyncio.to_thread(files.path_of, file_id)
    return FileResponse(path, media_type="application/octet-stream", filename=about.filename)


@router.delete(
    "/v1/files/{file_id}", responses=answer(FileDeletedAnswer, examples.FILE_DELETED) | failures(404, 409, 503)
)
async def delete_file(request: Request, file_id: str) -> Response:
    """Delete a file that no fine-tune is still to read."""
    files = file_store(request)
    await asyncio.to_thread(files.get, file_id)
    unfinished = await asyncio.to_thread(job_store(request.app.state).unfinished, Kind.FINETUNE)
    names = ("training_file", "validation_file", "test_file")
    if any(file_id in [job.request[name] for name in names] for job in unfinished):
        raise JobStateError("a fine-tune that has not ended reads this file; cancel it, or wait for its end")
    await asyncio.to_thread(files.delete, file_id)
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})


def describe(file: StoredFile) -> dict[str, Any]:
    """Describe a file."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.num_bytes,
        "created_at": int(file.created_at),
        "expires_at": None,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def file_store(request: Request) -> FileStore:
    """Return the store of files.

    Raises:
        UnavailableError: the server is loading or stopping.
        StorageError: the store could not be opened.
    """
    state = request.app.state
    job_store(state)
    files: FileStore | StorageError = state.files
    if isinstance(files, StorageError):
        raise files
    return files


async def _receive(request: Request, files: FileStore) -> StoredFile:
    if "content-encoding" in request.headers:
        raise HTTPException(415, "the body must not be compressed; leave Content-Encoding out")
    try:
        from server.files.upload import Upload
    except ImportError as error:
        raise UnavailableError("files need python-multipart: pip install 'kelvin-server[finetune]'") from error
    max_bytes = request.app.state.settings.max_file_bytes
    incoming = await asyncio.to_thread(files.receive)
    try:
        upload = Upload(request.headers.get("content-type", ""), incoming.write, max_bytes)
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            await _read_all(request, upload)
        filename = upload.finish()
        if upload.fields.get("purpose") != "fine-tune":
            raise InvalidRequestError("purpose must be fine-tune; add it, as in -F purpose=fine-tune", param="purpose")
        return await asyncio.to_thread(incoming.publish, filename, "fine-tune")
    except TimeoutError:
        raise HTTPException(408, "the file did not arrive in time; send it faster") from None
    finally:
        await asyncio.shield(asyncio.to_thread(incoming.discard))


async def _read_all(request: Request, upload: "Upload") -> None:
    more = True
    while more:
        async with asyncio.timeout(PIECE_TIMEOUT_S):
            message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        await asyncio.to_thread(upload.write, message.get("body", b""))
        more = message.get("more_body", False)
