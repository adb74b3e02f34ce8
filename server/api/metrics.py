"""GET /metrics: for Prometheus."""

import asyncio

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from server.api import examples
from server.api.documented import failures, file_answer

router = APIRouter()


@router.get("/metrics", responses=file_answer("text/plain", examples.METRICS) | failures())
async def metrics(request: Request) -> Response:
    """Show what the server counts and times, in Prometheus' text format."""
    text = await asyncio.to_thread(request.app.state.metrics.render)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
