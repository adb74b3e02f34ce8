"""Prompts: from what a request holds to token ids."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from server.errors import InvalidRequestError
from server.loaded import LoadedModel
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
    tokenizer: Tokenizer, prompt: str | list[str] | list[int] | list[list[int]], *, special_tokens: bool
) -> list[list[int]]:
    """Encode a request's prompt or prompts; token ids pass as they are.

    Args:
        tokenizer: of the model.
        prompt: one text, several, or the token ids of one prompt or of several, not empty.
        special_tokens: whether names of special tokens are read as these tokens.

    Returns:
        Token ids, prompt by prompt.

    Raises:
        InvalidRequestError: a text cannot be encoded.
    """
    texts = [prompt] if isinstance(prompt, str) else [text for text in prompt if isinstance(text, str)]
    if not texts:
        several = [token_ids for token_ids in prompt if isinstance(token_ids, list)]
        return several or [[token_id for token_id in prompt if isinstance(token_id, int)]]
    return await run_sized(
        lambda: [tokenizer.encode(text, special_tokens=special_tokens) for text in texts], sum(map(len, texts))
    )


async def encode_chat(model: LoadedModel, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Encode a conversation as the model's own template writes it; what special tokens it has, the template wrote.

    Args:
        model: the model.
        messages: each with `role` and `content`.

    Returns:
        Token ids, up to where the model's answer begins.

    Raises:
        InvalidRequestError: the model has no template, or it does not take the messages.
    """
    chat, tokenizer = model.chat, model.tokenizer
    if chat is None:
        raise InvalidRequestError(
            f"the model {model.name} has no chat template; send it a text by POST /v1/completions, or have its folder "
            "hold chat_template.jinja",
            param="model",
        )

    def encode() -> list[int]:
        pieces = chat.render(messages, tokenizer.special_names)
        return [token_id for piece in pieces for token_id in tokenizer.encode(piece, special_tokens=True)]

    return await asyncio.to_thread(encode)  # the template runs in another process
