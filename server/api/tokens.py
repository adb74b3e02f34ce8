"""POST /tokenize and POST /detokenize: between texts and token ids."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.api import examples
from server.api.body import read_body
from server.api.documented import answer, failures, json_body
from server.api.prompts import run_sized
from server.api.schemas.answers import DetokenizeAnswer, TokenizeAnswer
from server.api.schemas.tokens import DetokenizeRequest, TokenizeRequest
from server.api.served import find_model
from server.errors import InvalidRequestError
from server.models.tokenizer import Tokenizer

_FAILURES = failures(400, 404, 408, 413, 415, 503)
router = APIRouter()


@router.post(
    "/tokenize",
    responses=answer(TokenizeAnswer, examples.TOKENIZE_ANSWER) | _FAILURES,
    openapi_extra=json_body(TokenizeRequest, examples.TOKENIZE),
)
async def tokenize(request: Request) -> Response:
    """Split a text into the tokens that a prompt of this text has."""
    body = await read_body(request, TokenizeRequest)
    tokenizer = find_model(request.app.state, body.model).tokenizer
    return JSONResponse(
        await run_sized(lambda: describe_tokens(tokenizer, body.text, body.special_tokens), len(body.text))
    )


@router.post(
    "/detokenize",
    responses=answer(DetokenizeAnswer, examples.DETOKENIZE_ANSWER) | _FAILURES,
    openapi_extra=json_body(DetokenizeRequest, examples.DETOKENIZE),
)
async def detokenize(request: Request) -> Response:
    """Join token ids into a text, special tokens by their names."""
    body = await read_body(request, DetokenizeRequest)
    model = find_model(request.app.state, body.model)
    vocab_size = model.engine.backend.vocab_size
    if not all(0 <= token_id < vocab_size for token_id in body.tokens):
        raise InvalidRequestError(
            f"tokens holds an id that this model does not have; its ids are 0 to {vocab_size - 1}", param="tokens"
        )
    text = await run_sized(lambda: model.tokenizer.decode(body.tokens), len(body.tokens))
    return JSONResponse({"text": text})


def describe_tokens(tokenizer: Tokenizer, text: str, special_tokens: bool) -> dict[str, Any]:
    """Split a text and show each token.

    Args:
        tokenizer: of the model.
        text: any text.
        special_tokens: whether names of special tokens are read as these tokens.
    """
    token_ids = tokenizer.encode(text, special_tokens=special_tokens)
    texts = [tokenizer.token_text(token_id) for token_id in token_ids]
    return {"tokens": token_ids, "texts": texts, "count": len(token_ids)}
