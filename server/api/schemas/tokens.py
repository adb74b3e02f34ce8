"""The bodies of POST /distribution, /tokenize and /detokenize."""

from typing import Annotated

from pydantic import FailFast, Field

from server.api.schemas.prompt import MAX_PROMPT_TOKENS, Prompt
from server.api.schemas.strict import StrictModel

MAX_TOP = 1000
_Model = Annotated[str | None, Field(max_length=200, description="Which model; null is the first that is served.")]


class DistributionRequest(StrictModel):
    """A prompt, and how many of its most probable next tokens to list."""

    prompt: Prompt = Field(description="A text, or token ids.")
    model: _Model = None
    top: int = Field(200, ge=1, le=MAX_TOP, description="Tokens to list, most probable first.")


class TokenizeRequest(StrictModel):
    """A text to split into tokens."""

    text: str = Field(description="Any text.")
    model: _Model = None
    special_tokens: bool = Field(False, description="Read names such as <|im_start|> as the special tokens they name.")


class DetokenizeRequest(StrictModel):
    """Token ids to join into a text."""

    tokens: Annotated[list[int], FailFast()] = Field(
        max_length=MAX_PROMPT_TOKENS, description="Token ids, each below the size of the model's vocabulary."
    )
    model: _Model = None
