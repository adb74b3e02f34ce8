"""The bodies of POST /v1/completions and /v1/chat/completions: OpenAI's fields, and Kelvin's own beside them."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from samplers.params import MAX_TOP_LOGPROBS
from server.api.schemas.prompt import AnyPrompts
from server.api.schemas.sampling import MAX_STOP_LENGTH, MAX_STOPS, SamplingFields
from server.api.schemas.strict import StrictModel
from server.errors import InvalidRequestError

MAX_MESSAGES = 1024
_Neutral = dict[str, tuple[Any, ...]]

# OpenAI's fields that nothing here answers to, with the values at which they ask for nothing; null is one for all.
_NEITHER: _Neutral = {"metadata": ({},), "service_tier": ("auto", "default"), "store": (False,)}
_NO_COMPLETION: _Neutral = {**_NEITHER, "best_of": (1,), "suffix": ("",)}
_NO_CHAT: _Neutral = {
    **_NEITHER,
    "audio": (),
    "function_call": ("none",),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True,),
    "prediction": (),
    "prompt_cache_key": (),
    "prompt_cache_retention": (),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "safety_identifier": (),
    "special_tokens": (False,),  # Kelvin's own; in a conversation the template alone writes them
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": (),
    "web_search_options": (),
}
_NO_MESSAGE: _Neutral = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "refusal": (),
    "tool_calls": ([],),
}


def _without_neutral(body: Any, neutral: _Neutral, place: str) -> Any:
    """Leave out nulls and what asks for nothing; refuse by name what asks for something that is not done here."""
    if not isinstance(body, dict):
        return body
    asked = {name: value for name, value in body.items() if value is not None}
    for name in [name for name in asked if name in neutral]:
        value = asked.pop(name)
        if not any(type(value) is type(one) and value == one for one in neutral[name]):
            raise InvalidRequestError(
                f"{place}{name} is not supported here, and is not ignored either; leave it out",
                param=place.rstrip(".") or name,
            )
    return asked


class StreamOptions(StrictModel):
    """What a stream says besides."""

    include_usage: bool = Field(False, description="End with a chunk that counts the tokens and has no choices.")
    include_obfuscation: Literal[False] = Field(False, description="Never padded: only false.")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]
_Stops = Annotated[list[_Stop], BeforeValidator(_as_list, json_schema_input_type=_Stop | list[_Stop])]


class OpenAIFields(SamplingFields):
    """What both routes take; a null is the same as a field left out."""

    neutral: ClassVar[_Neutral] = {}

    model: str | None = Field(None, max_length=200, description="Which model; null is the first that is served.")
    stream: bool = Field(False, description="Answer with server-sent events while the tokens are drawn.")
    stream_options: StreamOptions | None = Field(None, description="Only with stream.")
    stop: _Stops = Field([], max_length=MAX_STOPS, description="Texts that end a sample, before them; one or several.")
    user: str | None = Field(None, max_length=512, description="Taken, and used for nothing.")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_neutral(cls, body: Any) -> Any:
        return _without_neutral(body, cls.neutral, "")

    @model_validator(mode="after")
    def _require_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise InvalidRequestError(
                "stream_options needs stream; set it to true, or leave both", param="stream_options"
            )
        return self

    def sampling(self, **settled: Any) -> SamplingFields:
        """Return what is asked of the sampler.

        Args:
            settled: values by name that are no fields of this body, or stand there in another form.
        """
        names = SamplingFields.model_fields
        values = {name: getattr(self, name) for name in names if name not in settled}
        return SamplingFields.model_construct(self.model_fields_set & names.keys(), **values, **settled)


class CompletionRequest(OpenAIFields):
    """A text to continue."""

    neutral: ClassVar[_Neutral] = _NO_COMPLETION

    prompt: AnyPrompts = Field(description="A text, up to 256 texts, or the token ids of one prompt or of several.")
    max_tokens: int = Field(16, ge=1, description="Tokens of a sample at most.")
    echo: bool = Field(False, description="Put the prompt before each text; not with logprobs.")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_best_of(cls, body: Any) -> Any:
        """The best n of n are all."""
        if isinstance(body, dict) and "best_of" in body and type(body["best_of"]) is type(body.get("n")) is int:
            body = {name: value for name, value in body.items() if name != "best_of" or value != body["n"]}
        return body

    @model_validator(mode="after")
    def _require_no_logprobs_of_echo(self) -> Self:
        if self.echo and self.logprobs is not None:
            raise InvalidRequestError(
                "echo has no logprobs: those of a prompt are not computed; leave out one of the two", param="echo"
            )
        return self


class TextPart(StrictModel):
    """A part of a message."""

    type: Literal["text"]
    text: str


def _join_parts(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(map(_is_text, value)):
        return "".join(part["text"] for part in value)
    raise PydanticCustomError(
        "content_type", 'Input should be a text, or a list of parts such as {{"type": "text", "text": ""}}'
    )


def _is_text(part: Any) -> bool:
    text = isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text"
    return text and isinstance(part["text"], str)


class Message(StrictModel):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"] = Field(
        description="Whose turn it is; developer is system by its newer name."
    )
    content: Annotated[str, PlainValidator(_join_parts, json_schema_input_type=str | list[TextPart])] = Field(
        description="A text, or parts of one."
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out_neutral(cls, body: Any) -> Any:
        return _without_neutral(body, _NO_MESSAGE, "messages.")


class ChatRequest(OpenAIFields):
    """A conversation to continue."""

    neutral: ClassVar[_Neutral] = _NO_CHAT

    messages: list[Message] = Field(
        min_length=1, max_length=MAX_MESSAGES, description="The turns so far, oldest first."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Tokens of a sample at most; null is as many as fit max_length."
    )
    max_completion_tokens: int | None = Field(None, ge=1, description="The same by its newer name.")
    logprobs: bool = Field(False, description="Report log-probabilities of the tokens.")
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_TOP_LOGPROBS, description="And of this many most probable ones; only with logprobs."
    )

    @model_validator(mode="after")
    def _require_agreement(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequestError("top_logprobs needs logprobs; set it to true", param="top_logprobs")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise InvalidRequestError(
                "max_completion_tokens is max_tokens by its newer name; give one of them", param="max_completion_tokens"
            )
        return self

    def turns(self) -> list[dict[str, str]]:
        """Return the messages as templates know them."""
        roles = {"developer": "system"}
        return [{"role": roles.get(turn.role, turn.role), "content": turn.content} for turn in self.messages]

    def chat_sampling(self, most_tokens: int) -> SamplingFields:
        """Return what is asked of the sampler.

        Args:
            most_tokens: that fit after the conversation.
        """
        asked = self.max_completion_tokens or self.max_tokens
        fields = self.sampling(
            max_tokens=asked or max(1, most_tokens), logprobs=(self.top_logprobs or 0) if self.logprobs else None
        )
        return fields if asked is None else fields.model_copy(update={"max_tokens": asked})
