"""Prompts: from what a request holds to token ids."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from server.models.tokenizer import Tokenizer

LONG = 8192  # characters or tokens; about 5 ms of work

_Result = TypeVar("_Result")


async def run_sized(work: Callable[[], _Result], size: int) -> _Result:
    """Do a tokenizer's work: on another thread if it is much, so that the other requests' tokens keep flowing.

    Args:
        work: may run on any thread.
        size: characters or tokens that it goes over.
    """
    return await asyncio.to_thread(work) if size > LONG else work()


async def encode_prompts(
    tokenizer: Tokenizer, prompt: str | list[str] | list[int], *, special_tokens: bool
) -> list[list[int]]:
    """Encode a request's prompt or prompts; token ids pass as they are.

    Args:
        tokenizer: of the model.
        prompt: one text, several, or the token ids of one prompt, not empty.
        special_tokens: whether names of special tokens are read as these tokens.

    Returns:
        Token ids, prompt by prompt.

    Raises:
        InvalidRequestError: a text cannot be encoded.
    """
    texts = [prompt] if isinstance(prompt, str) else [text for text in prompt if isinstance(text, str)]
    if not texts:
        return [[token_id for token_id in prompt if isinstance(token_id, int)]]
    return await run_sized(
        lambda: [tokenizer.encode(text, special_tokens=special_tokens) for text in texts], sum(map(len, texts))
    )
