"""The answers in OpenAI's shape, as they are documented."""

from typing import Literal

from server.api.schemas.answers import Answer, Sampling, Usage

FinishReason = Literal["stop", "length", "timeout", "cancelled"]


class TextLogprobsAnswer(Answer):
    """One entry a token, in each list; `text_offset` in characters."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Answer):
    """A text."""

    index: int
    text: str
    logprobs: TextLogprobsAnswer | None
    finish_reason: FinishReason | None


class CompletionAnswer(Answer):
    """Texts and how they were drawn."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage
    sampling: Sampling


class LikelyToken(Answer):
    """A token; `bytes` may be part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None


class DrawnToken(LikelyToken):
    """A token that was drawn, and the most probable ones."""

    top_logprobs: list[LikelyToken]


class ChatLogprobs(Answer):
    """One entry a token."""

    content: list[DrawnToken]
    refusal: None


class AssistantMessage(Answer):
    """The model's turn."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(Answer):
    """One of the turns that were drawn."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatAnswer(Answer):
    """Turns and how they were drawn."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    sampling: Sampling


class ModelAnswer(Answer):
    """A model that is served, and where; `chat` says whether it has a template for conversations."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["kelvin"]
    framework: str
    device: str
    dtype: str
    quantization: str
    max_length: int
    chat: bool


class ClassifierAnswer(Answer):
    """A classifier, which `POST /classify` asks."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["kelvin"]
    task: Literal["classification"]


class ModelList(Answer):
    """The models that are served, and the classifiers, newest first."""

    object: Literal["list"]
    data: list[ModelAnswer | ClassifierAnswer]


class ModelDeletedAnswer(Answer):
    """What was deleted."""

    id: str
    object: Literal["model"]
    deleted: Literal[True]
