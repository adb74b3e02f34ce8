"""SamplingParams: what one request asks of the sampler, validated once, for every way into the server."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

MAX_LOGIT_BIAS = 100.0
MAX_STOP_TOKEN_IDS = 32
MAX_TOP_LOGPROBS = 20
MAX_INT32 = 2**31 - 1
LogprobsMode = Literal["raw", "tempered", "processed"]


class SamplingParamsError(ValueError):
    """A sampling parameter is out of its range; `param` names it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """One request's sampling parameters; every default is an identity.

    Attributes:
        temperature: divides the logits; finite, ≥ 0; 0 is argmax, 1 leaves the model's distribution.
        top_k: keep the k most probable tokens, ≥ 0; 0 keeps all, and so does a k above the vocabulary.
        top_p: keep the smallest set of tokens whose probability reaches p, in (0, 1]; 1 keeps all.
        min_p: keep tokens at least min_p times as probable as the best, in [0, 1]; 0 keeps all.
        logit_bias: added to the logits of these token ids before anything else, in [-100, 100].
        max_tokens: tokens to generate at most, ≥ 1.
        min_tokens: end-of-sequence and stop tokens cannot be drawn before this many tokens, 0 to max_tokens.
        stop_token_ids: ids that end the sequence, at most 32.
        ignore_eos: go on after the model's end-of-sequence token.
        seed: names the noise, in [0, 2**63).
        logprobs: report the log-probability of each token and of this many most probable ones, 0 to 20; None: none.
        logprobs_mode: `raw` is the model's own distribution, `tempered` is after temperature, `processed` is the
            distribution that was drawn from.

    Raises:
        SamplingParamsError: a value is outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    max_tokens: int = 128
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int = 0
    logprobs: int | None = None
    logprobs_mode: LogprobsMode = "raw"

    def __post_init__(self) -> None:
        _require_float("temperature", self.temperature, low=0.0)
        _require_int("top_k", self.top_k, low=0, high=MAX_INT32)
        _require_float("top_p", self.top_p, low=0.0, high=1.0)
        if self.top_p == 0.0:
            raise SamplingParamsError("top_p", "top_p must be above 0; for the most probable token use temperature 0")
        _require_float("min_p", self.min_p, low=0.0, high=1.0)
        _require_int("max_tokens", self.max_tokens, low=1)
        _require_int("min_tokens", self.min_tokens, low=0)
        if self.min_tokens > self.max_tokens:
            raise SamplingParamsError(
                "min_tokens", f"min_tokens is {_shown(self.min_tokens)}, above max_tokens, which is {self.max_tokens}"
            )
        _require_int("seed", self.seed, low=0, high=2**63 - 1)
        if self.logprobs is not None:
            _require_int("logprobs", self.logprobs, low=0, high=MAX_TOP_LOGPROBS)
        if self.logprobs_mode not in ("raw", "tempered", "processed"):
            raise SamplingParamsError("logprobs_mode", "logprobs_mode must be 'raw', 'tempered' or 'processed'")
        _require_type("ignore_eos", self.ignore_eos, bool, "true or false")
        _require_type("stop_token_ids", self.stop_token_ids, tuple, "a tuple of token ids")
        if len(self.stop_token_ids) > MAX_STOP_TOKEN_IDS:
            raise SamplingParamsError(
                "stop_token_ids",
                f"stop_token_ids may hold at most {MAX_STOP_TOKEN_IDS} ids; it holds {len(self.stop_token_ids)}",
            )
        for token_id in self.stop_token_ids:
            _require_int("stop_token_ids", token_id, low=0, high=MAX_INT32)
        _require_type("logit_bias", self.logit_bias, Mapping, "a mapping of token ids to numbers")
        for token_id, bias in self.logit_bias.items():
            _require_int("logit_bias", token_id, low=0, high=MAX_INT32)
            _require_float("logit_bias", bias, low=-MAX_LOGIT_BIAS, high=MAX_LOGIT_BIAS)
        object.__setattr__(self, "logit_bias", MappingProxyType(dict(self.logit_bias)))

    @property
    def processes(self) -> bool:
        """Say whether the logits are changed before temperature."""
        return bool(self.logit_bias) or self.min_tokens > 0

    @property
    def truncates(self) -> bool:
        """Say whether tokens are cut off after temperature."""
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0

    def stop_ids(self, eos_token_ids: Iterable[int]) -> frozenset[int]:
        """Collect the ids that end a sequence.

        Args:
            eos_token_ids: the model's own, left out where `ignore_eos` is set.
        """
        return frozenset(self.stop_token_ids) | frozenset(() if self.ignore_eos else eos_token_ids)

    def require_token_ids_below(self, vocab_size: int) -> None:
        """Refuse token ids that the model's logits do not have.

        Args:
            vocab_size: width of the logits.

        Raises:
            SamplingParamsError: an id of `logit_bias` or `stop_token_ids` is not below `vocab_size`.
        """
        for param, token_ids in (("logit_bias", self.logit_bias), ("stop_token_ids", self.stop_token_ids)):
            beyond = next((token_id for token_id in token_ids if token_id >= vocab_size), None)
            if beyond is not None:
                raise SamplingParamsError(
                    param, f"{param} names token {beyond}; this model's token ids are 0 to {vocab_size - 1}"
                )


def _require_float(param: str, value: Any, *, low: float, high: float = sys.float_info.max) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # NaN is within no bounds
        limit = f"at least {low:g}" if high == sys.float_info.max else f"from {low:g} to {high:g}"
        raise SamplingParamsError(param, f"{param} must be a finite number {limit}; it is {_shown(value)}")


def _require_int(param: str, value: Any, *, low: int, high: int | None = None) -> None:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        limit = f"at least {low}" if high is None else f"from {low} to {high}"
        raise SamplingParamsError(param, f"{param} must be an integer {limit}; it is {_shown(value)}")


def _require_type(param: str, value: Any, kind: type, meaning: str) -> None:
    if not isinstance(value, kind):
        raise SamplingParamsError(param, f"{param} must be {meaning}; it is {_shown(value)}")


def _shown(value: Any) -> str:
    """Write a short value as it is, and of anything that may be long only what it is."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return "beyond 64 bits"
    if value is None or isinstance(value, int | float):
        return str(value)
    return f"a value of type {type(value).__name__}"
