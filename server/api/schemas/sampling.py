"""The sampling fields of a request. The sampler's own ranges are shown here, and checked in SamplingParams."""

from typing import Annotated, Any, Literal

from pydantic import Field

from samplers.params import MAX_LOGIT_BIAS, MAX_STOP_TOKEN_IDS, MAX_TOP_LOGPROBS, LogprobsMode, SamplingParams
from server.api.schemas.strict import StrictModel

MAX_SAMPLES = 128
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_LOGIT_BIASES = 1024
DEFAULT = SamplingParams()


def _range(low: float, high: float | None = None) -> dict[str, Any]:
    return {"minimum": low} if high is None else {"minimum": low, "maximum": high}


_TokenId = Annotated[int, Field(json_schema_extra=_range(0))]
_TokenIdKey = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,9})$")]
_Bias = Annotated[float, Field(json_schema_extra=_range(-MAX_LOGIT_BIAS, MAX_LOGIT_BIAS))]


class SamplingFields(StrictModel):
    """How to sample; every default is an identity."""

    max_tokens: int = Field(DEFAULT.max_tokens, description="Tokens of a sample at most.", json_schema_extra=_range(1))
    min_tokens: int = Field(
        DEFAULT.min_tokens,
        description="Nothing ends a sample before this many tokens: no end-of-sequence token, stop token or stop text.",
        json_schema_extra=_range(0),
    )
    n: int = Field(1, ge=1, le=MAX_SAMPLES, description="Samples of each prompt.")
    seed: int | None = Field(
        None, description="Names the noise; null draws one.", json_schema_extra=_range(0, 2**63 - 1)
    )
    temperature: float = Field(
        DEFAULT.temperature, description="Divides the logits; 0 is greedy.", json_schema_extra=_range(0)
    )
    top_k: int = Field(
        DEFAULT.top_k,
        description="Keep the k most probable tokens; 0 keeps all.",
        json_schema_extra=_range(0, 2**31 - 1),
    )
    top_p: float = Field(
        DEFAULT.top_p,
        description="Keep the smallest set of tokens that holds this probability.",
        json_schema_extra={"exclusiveMinimum": 0, "maximum": 1},
    )
    min_p: float = Field(
        DEFAULT.min_p,
        description="Keep tokens at least this many times as probable as the best.",
        json_schema_extra=_range(0, 1),
    )
    logit_bias: dict[_TokenIdKey, _Bias] = Field(
        {}, max_length=MAX_LOGIT_BIASES, description="Added to the logits of these token ids, which are the keys."
    )
    stop: list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]] = Field(
        [], max_length=MAX_STOPS, description="Texts that end a sample; the text is cut before them."
    )
    stop_token_ids: list[_TokenId] = Field(
        [], max_length=MAX_STOP_TOKEN_IDS, description="Token ids that end a sample."
    )
    ignore_eos: bool = Field(DEFAULT.ignore_eos, description="Go on after the model's end-of-sequence token.")
    include_stop: bool = Field(False, description="Keep what ended the sample in its text.")
    logprobs: int | None = Field(
        DEFAULT.logprobs,
        description="Report log-probabilities: of each token, and of this many most probable ones.",
        json_schema_extra=_range(0, MAX_TOP_LOGPROBS),
    )
    logprobs_mode: LogprobsMode = Field(
        DEFAULT.logprobs_mode,
        description="Of which distribution: the model's own, the one after temperature, or the one drawn from.",
    )
    order: Literal["hf"] = Field("hf", description="Order of the sampling steps.")
    timeout_s: float | None = Field(
        None, gt=0, description="End with what there is after this many seconds; null is the server's max_timeout_s."
    )
    special_tokens: bool = Field(
        False, description="Read names such as <|im_start|> in a text prompt as the special tokens they name."
    )
