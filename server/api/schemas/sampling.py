"""The sampling fields of a request. The sampler's own ranges are shown here, and checked in SamplingParams."""

from typing import Annotated, Any

from pydantic import Field

from samplers.params import (
    MAX_LOGIT_BIAS,
    MAX_LOGIT_BIASES,
    MAX_PENALTY,
    MAX_REPETITION,
    MAX_STOP_TOKEN_IDS,
    MAX_TOP_LOGPROBS,
    LogprobsMode,
    Order,
    SamplingParams,
)
from server.api.schemas.strict import StrictModel

MAX_SAMPLES = 128
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_BAD_WORDS = 64
MAX_BAD_WORD_LENGTH = 256
MAX_ALLOWED_TOKEN_IDS = 2**18
DEFAULT = SamplingParams()


def _range(low: float, high: float | None = None) -> dict[str, Any]:
    return {"minimum": low} if high is None else {"minimum": low, "maximum": high}


_TokenId = Annotated[int, Field(json_schema_extra=_range(0))]
_TokenIdKey = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,9})$")]
_Bias = Annotated[float, Field(json_schema_extra=_range(-MAX_LOGIT_BIAS, MAX_LOGIT_BIAS))]


class DynamicTemperatureFields(StrictModel):
    """A temperature led by the entropy of the next token."""

    min: float = Field(description="Where the model is certain.", json_schema_extra=_range(0))
    max: float = Field(
        description="Where all tokens are equally probable; not below min.", json_schema_extra={"exclusiveMinimum": 0}
    )
    exponent: float = Field(1.0, description="Bends the way between them.", json_schema_extra={"exclusiveMinimum": 0})


class DrawFields(StrictModel):
    """How a token is drawn, and what ends a sample; every default is an identity."""

    min_tokens: int = Field(
        DEFAULT.min_tokens,
        description="Nothing ends a sample before this many tokens: no end-of-sequence token, stop token or stop text.",
        json_schema_extra=_range(0),
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
    typical_p: float = Field(
        DEFAULT.typical_p,
        description="Keep the tokens of most typical surprise that hold this probability.",
        json_schema_extra={"exclusiveMinimum": 0, "maximum": 1},
    )
    top_n_sigma: float = Field(
        DEFAULT.top_n_sigma,
        description="Keep logits within this many standard deviations of the best; 0 keeps all.",
        json_schema_extra=_range(0),
    )
    epsilon_cutoff: float = Field(
        DEFAULT.epsilon_cutoff,
        description="Keep tokens at least this probable.",
        json_schema_extra={"minimum": 0, "exclusiveMaximum": 1},
    )
    eta_cutoff: float = Field(
        DEFAULT.eta_cutoff,
        description="Likewise, but less strict where the entropy is high.",
        json_schema_extra={"minimum": 0, "exclusiveMaximum": 1},
    )
    xtc_probability: float = Field(
        DEFAULT.xtc_probability,
        description="How often to remove the most probable tokens but the last of them.",
        json_schema_extra=_range(0, 1),
    )
    xtc_threshold: float = Field(
        DEFAULT.xtc_threshold, description="From which probability on they are.", json_schema_extra=_range(0, 1)
    )
    dynamic_temperature: DynamicTemperatureFields | None = Field(
        None, description="A temperature led by the entropy, in place of temperature, which must be left at 1."
    )
    repetition_penalty: float = Field(
        DEFAULT.repetition_penalty,
        description="Divides the positive logits of tokens in prompt and answer, multiplies negative ones.",
        json_schema_extra=_range(1 / MAX_REPETITION, MAX_REPETITION),
    )
    presence_penalty: float = Field(
        DEFAULT.presence_penalty,
        description="Subtracted from the logits of tokens in the answer.",
        json_schema_extra=_range(-MAX_PENALTY, MAX_PENALTY),
    )
    frequency_penalty: float = Field(
        DEFAULT.frequency_penalty,
        description="Subtracted as often as the token is in the answer.",
        json_schema_extra=_range(-MAX_PENALTY, MAX_PENALTY),
    )
    no_repeat_ngram_size: int = Field(
        DEFAULT.no_repeat_ngram_size,
        description="Let no sequence of this many tokens come twice; 0 does not care.",
        json_schema_extra=_range(0, 2**31 - 1),
    )
    dry_multiplier: float = Field(
        DEFAULT.dry_multiplier,
        description="Penalty of DRY for a token that prolongs a repetition; 0 turns it off.",
        json_schema_extra=_range(0),
    )
    dry_base: float = Field(
        DEFAULT.dry_base,
        description="What it is multiplied by for each token that the repetition is longer.",
        json_schema_extra=_range(1),
    )
    dry_allowed_length: int = Field(
        DEFAULT.dry_allowed_length,
        description="Repetitions shorter than this cost nothing.",
        json_schema_extra=_range(0, 2**31 - 1),
    )
    allowed_token_ids: list[_TokenId] | None = Field(
        None, max_length=MAX_ALLOWED_TOKEN_IDS, description="The only token ids that may be drawn; null is all."
    )
    bad_words: list[Annotated[str, Field(min_length=1, max_length=MAX_BAD_WORD_LENGTH)]] = Field(
        [], max_length=MAX_BAD_WORDS, description="Words not to be completed, with a space before or without."
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
    order: Order = Field(
        DEFAULT.order, description="Order of the sampling steps: that of transformers, of vLLM or of llama.cpp."
    )
    special_tokens: bool = Field(
        False, description="Read names such as <|im_start|> in a text prompt as the special tokens they name."
    )


class SamplingFields(DrawFields):
    """How to sample: besides, how many and how long, by which noise, and what to report."""

    max_tokens: int = Field(DEFAULT.max_tokens, description="Tokens of a sample at most.", json_schema_extra=_range(1))
    n: int = Field(1, ge=1, le=MAX_SAMPLES, description="Samples of each prompt.")
    seed: int | None = Field(
        None, description="Names the noise; null draws one.", json_schema_extra=_range(0, 2**63 - 1)
    )
    logprobs: int | None = Field(
        DEFAULT.logprobs,
        description="Report log-probabilities: of each token, and of this many most probable ones.",
        json_schema_extra=_range(0, MAX_TOP_LOGPROBS),
    )
    logprobs_mode: LogprobsMode = Field(
        DEFAULT.logprobs_mode,
        description="Of which distribution: the model's own, the one after temperature, or the one drawn from.",
    )
    timeout_s: float | None = Field(
        None, gt=0, description="End with what there is after this many seconds; null is the server's max_timeout_s."
    )
