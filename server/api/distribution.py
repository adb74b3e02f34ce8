"""POST /distribution: the next token's distribution, before any sampling parameter touches it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.api import examples
from server.api.admission import require_room
from server.api.body import read_body
from server.api.disconnect import until_disconnect
from server.api.documented import answer, failures, json_body
from server.api.prompts import encode_prompts
from server.api.schemas.answers import DistributionAnswer
from server.api.schemas.tokens import DistributionRequest
from server.api.served import find_model
from server.errors import NumericalError
from server.models.tokenizer import Tokenizer

NUM_BINS = 32
router = APIRouter()


@router.post(
    "/distribution",
    responses=answer(DistributionAnswer, examples.DISTRIBUTION_ANSWER)
    | failures(400, 404, 408, 413, 415, 429, 500, 503),
    openapi_extra=json_body(DistributionRequest, examples.DISTRIBUTION),
)
async def distribution(request: Request) -> Response:
    """List the most probable next tokens with their raw logits, and sum up the rest: any temperature follows."""
    body = await read_body(request, DistributionRequest)
    model = find_model(request.app.state, body.model)
    require_room(model, body.prompt, n=1, max_tokens=1)
    [prompt] = await encode_prompts(model.tokenizer, body.prompt, special_tokens=False)
    limit_s = request.app.state.settings.queue_timeout_s
    logits = await until_disconnect(request.receive, model.engine.logits(prompt, queue_timeout_s=limit_s))
    return JSONResponse(describe_distribution(logits, body.top, model.tokenizer))


def describe_distribution(logits: Sequence[float], top: int, tokenizer: Tokenizer) -> dict[str, Any]:
    """Split logits into the highest, listed, and the tail, summed up.

    Args:
        logits: [vocab].
        top: how many to list, at least 1; highest first, lower id first among equals.
        tokenizer: gives the tokens' texts.

    Raises:
        NumericalError: a logit is not finite.
    """
    values = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(values).all():
        raise NumericalError("the model's logits are not finite for this prompt; its numbers cannot be trusted")
    order = np.argsort(-values, kind="stable")
    listed = [
        {"id": token_id, "text": tokenizer.token_text(token_id), "logit": float(values[token_id])}
        for token_id in order[:top].tolist()
    ]
    return {"tokens": listed, "tail": _describe_tail(values[order[top:]])}


def _describe_tail(values: np.ndarray) -> dict[str, Any]:
    """Sum up logits, [tail], highest first."""
    if not values.size:
        return {"count": 0, "logsumexp": None, "histogram": {"edges": [], "counts": []}}
    counts, edges = np.histogram(values, bins=NUM_BINS)
    return {
        "count": values.size,
        "logsumexp": float(values[0] + np.log(np.exp(values - values[0]).sum())),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }
