"""The body of POST /generate."""

from pydantic import Field

from server.api.schemas.prompt import Prompts
from server.api.schemas.sampling import SamplingFields


class GenerateRequest(SamplingFields):
    """A prompt and how to sample its continuation."""

    prompt: Prompts = Field(description="A text, up to 256 texts, or the token ids of one prompt.")
    model: str | None = Field(None, max_length=200, description="Which model; null is the first that is served.")
    stream: bool = Field(False, description="Answer with server-sent events while the tokens are drawn.")
