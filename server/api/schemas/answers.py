"""The answers, as they are documented; routes write them as plain JSON, and tests hold the two together."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from server.comparison.result import Report


class Answer(BaseModel):
    """Base of every answer: no field that is not documented."""

    model_config = ConfigDict(extra="forbid")


class TopTokens(Answer):
    """The most probable tokens at one position, best first."""

    ids: list[int]
    logprobs: list[float]


class Logprobs(Answer):
    """One entry a token, in each list."""

    token_logprobs: list[float | None]
    top: list[TopTokens]
    entropy: list[float | None]
    kept: list[int]


class Choice(Answer):
    """One sample of one prompt; `index` is `prompt_index * n` plus the sample's number."""

    index: int
    prompt_index: int
    text: str
    token_ids: list[int]
    finish_reason: Literal["stop", "length", "timeout", "cancelled"] | None
    logprobs: Logprobs | None = None


class Usage(Answer):
    """Tokens; a prompt counts once however many samples it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Sampling(Answer):
    """What was done: enough to ask for the same again."""

    seed: int
    reproducible: Literal["bitwise", "noise"]
    order: str
    resolved: dict[str, object]
    sources: dict[str, Literal["request", "default", "drawn"]]


class Timings(Answer):
    """Seconds, of the slowest prompt."""

    queue_s: float
    prefill_s: float
    decode_s: float


class GenerateAnswer(Answer):
    """The samples and how they were drawn."""

    id: str
    model: str
    framework: str
    device: str
    choices: list[Choice]
    usage: Usage
    sampling: Sampling
    timings: Timings


class TokenLogit(Answer):
    """A token and its raw logit."""

    id: int
    text: str
    logit: float


class Histogram(Answer):
    """Counts between neighbouring edges: one fewer than edges, or both empty."""

    edges: list[float]
    counts: list[int]


class Tail(Answer):
    """The tokens that `top` leaves out; `logsumexp` of their logits is null where there are none."""

    count: int
    logsumexp: float | None
    histogram: Histogram


class DistributionAnswer(Answer):
    """The next token's distribution before sampling."""

    tokens: list[TokenLogit]
    tail: Tail


class TokenizeAnswer(Answer):
    """Token ids and what each shows as."""

    tokens: list[int]
    texts: list[str]
    count: int


class DetokenizeAnswer(Answer):
    """The text of token ids."""

    text: str


class ReadyAnswer(Answer):
    """The models that are served; the first one answers where a request names none."""

    status: Literal["ready"]
    models: list[str]


class LiveAnswer(Answer):
    """The process answers."""

    status: Literal["live"]


class VersionAnswer(Answer):
    """Versions; null for what is not installed."""

    kelvin: str | None
    python: str
    torch: str | None
    tensorflow: str | None


class Failure(Answer):
    """What went wrong, and what to do about it."""

    message: str
    type: str
    param: str | None
    code: str
    request_id: str


class FailureAnswer(Answer):
    """The one shape of every error."""

    error: Failure


class JobFailure(Answer):
    """Why a job failed."""

    message: str
    code: str
    param: str | None


class ComparisonAnswer(Answer):
    """A comparison; times are Unix seconds, `progress` goes from 0 to 1, `eta_s` is null where it is not known."""

    id: str
    object: Literal["comparison"]
    status: Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
    progress: float
    eta_s: float | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    plan: dict[str, object]
    error: JobFailure | None
    report: Report | None


class ComparisonList(Answer):
    """Comparisons, newest first, without their reports."""

    data: list[ComparisonAnswer]
    has_more: bool


class DeletedAnswer(Answer):
    """What was deleted."""

    id: str
    deleted: Literal[True]
