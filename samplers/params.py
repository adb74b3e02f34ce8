"""SamplingParams: what one request asks of the sampler, validated once, for every way into the server."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from samplers.checks import (
    MAX_INT32,
    SamplingParamsError,
    require_count,
    require_float,
    require_ids,
    require_int,
    require_one_of,
    require_type,
    shown,
)

MAX_LOGIT_BIAS = 100.0
MAX_LOGIT_BIASES = 1024
MAX_PENALTY = 2.0
MAX_REPETITION = 1000.0
MAX_STOP_TOKEN_IDS = 32
MAX_BAD_WORDS, MAX_BAD_WORD_LENGTH = 128, 16
MAX_TOP_LOGPROBS = 20
LogprobsMode = Literal["raw", "tempered", "processed"]
Order = Literal["hf", "vllm", "llamacpp"]


@dataclass(frozen=True, slots=True)
class DynamicTemperature:
    """A temperature that follows the entropy: low where the model is sure, high where it is not.

    Attributes:
        min: at entropy 0; finite, ≥ 0.
        max: where all tokens are equally probable; finite, above 0, not below `min`.
        exponent: bends the way between them; finite, above 0; 1 is a straight line.

    Raises:
        SamplingParamsError: a value is outside its range.
    """

    min: float
    max: float
    exponent: float = 1.0

    def __post_init__(self) -> None:
        param = "dynamic_temperature"
        require_float(param, self.min, low=0.0, name=f"{param}.min")
        for name in ("max", "exponent"):
            require_float(param, getattr(self, name), low=0.0, above=True, name=f"{param}.{name}")
        if self.min > self.max:
            raise SamplingParamsError(param, f"{param}.min is {shown(self.min)}, above its max, {shown(self.max)}")


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """One request's sampling parameters; every default is an identity. docs/samplers.md has each one's formula.

    Attributes:
        temperature: divides the logits; finite, ≥ 0; 0 is argmax, 1 leaves the model's distribution.
        dynamic_temperature: takes the place of `temperature`, which must then be 1; None: fixed.
        top_k: keep the k most probable tokens, ≥ 0; 0 keeps all, and so does a k above the vocabulary.
        top_p: keep the smallest set of tokens whose probability reaches p, in (0, 1]; 1 keeps all.
        min_p: keep tokens at least min_p times as probable as the best, in [0, 1]; 0 keeps all.
        typical_p: keep the tokens of most typical surprise whose probability reaches p, in (0, 1]; 1 keeps all.
        top_n_sigma: keep logits within n standard deviations of the best, finite, ≥ 0; 0 keeps all.
        epsilon_cutoff: keep tokens at least this probable, in [0, 1); 0 keeps all.
        eta_cutoff: likewise, but less strict where the entropy is high, in [0, 1); 0 keeps all.
        xtc_probability: how often to remove the most probable tokens but the last of them, in [0, 1]; 0 never does.
        xtc_threshold: which tokens count as the most probable ones, in [0, 1]; above 0.5 never more than one.
        repetition_penalty: divides positive logits of tokens seen, multiplies negative ones; 0.001 to 1000; 1: neither.
        presence_penalty: subtracted from the logits of generated tokens, in [-2, 2].
        frequency_penalty: subtracted as often as a token was generated, in [-2, 2].
        no_repeat_ngram_size: let no sequence of n tokens come twice, ≥ 0; 0 does not care.
        dry_multiplier: penalty for the token that would prolong a repetition, ≥ 0; 0 turns DRY off.
        dry_base: what it is multiplied by for each token that the repetition is longer, ≥ 1.
        dry_allowed_length: longest repetition without a penalty, ≥ 0.
        logit_bias: added to the logits of these token ids before anything else, in [-100, 100]; at most 1024 of them.
        allowed_token_ids: the only ids that may be drawn, at least one; None: all.
        bad_words: sequences of 1 to 16 token ids, at most 128 of them, that are not completed.
        max_tokens: tokens to generate at most, ≥ 1.
        min_tokens: end-of-sequence and stop tokens cannot be drawn before this many tokens, 0 to max_tokens.
        stop_token_ids: ids that end the sequence, at most 32.
        ignore_eos: go on after the model's end-of-sequence token.
        seed: names the noise, in [0, 2**63).
        logprobs: report the log-probability of each token and of this many most probable ones, 0 to 20; None: none.
        logprobs_mode: `raw` is the model's own distribution, `tempered` is after temperature, `processed` is the
            distribution that was drawn from.
        measures: report what samplers/measures.py says of each token.
        order: of the steps: that of `transformers`, of vLLM or of llama.cpp (see chain.py).

    Raises:
        SamplingParamsError: a value is outside its range.
    """

    temperature: float = 1.0
    dynamic_temperature: DynamicTemperature | None = None
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    allowed_token_ids: tuple[int, ...] | None = None
    bad_words: tuple[tuple[int, ...], ...] = ()
    max_tokens: int = 128
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int = 0
    logprobs: int | None = None
    logprobs_mode: LogprobsMode = "raw"
    measures: bool = False
    order: Order = "hf"

    def __post_init__(self) -> None:
        self._require_temperature()
        self._require_truncations()
        self._require_penalties()
        self._require_token_ids()
        self._require_length()
        self._require_report()
        object.__setattr__(self, "logit_bias", MappingProxyType(dict(self.logit_bias)))

    @property
    def greedy(self) -> bool:
        """Say whether the best token is taken, without noise."""
        return self.temperature == 0.0

    @property
    def remembers(self) -> bool:
        """Say whether earlier tokens of the sequence matter to the next one's logits."""
        penalized = self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0
        return penalized or self.no_repeat_ngram_size > 0 or self.dry_multiplier > 0.0 or bool(self.bad_words)

    @property
    def processes(self) -> bool:
        """Say whether the logits are changed before temperature."""
        restricted = self.allowed_token_ids is not None or self.min_tokens > 0
        return bool(self.logit_bias) or restricted or self.remembers

    @property
    def truncates(self) -> bool:
        """Say whether tokens are cut off, or the temperature depends on their distribution."""
        capped = self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0 or self.typical_p < 1.0
        cut = self.top_n_sigma > 0.0 or self.epsilon_cutoff > 0.0 or self.eta_cutoff > 0.0
        return capped or cut or self.xtc_probability > 0.0 or self.dynamic_temperature is not None

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
            SamplingParamsError: an id of any parameter is not below `vocab_size`.
        """
        for param, token_id in self._named_token_ids():
            if token_id >= vocab_size:
                raise SamplingParamsError(
                    param, f"{param} names token {token_id}; this model's token ids are 0 to {vocab_size - 1}"
                )

    def _named_token_ids(self) -> Iterator[tuple[str, int]]:
        for param in ("logit_bias", "stop_token_ids", "allowed_token_ids"):
            yield from ((param, token_id) for token_id in getattr(self, param) or ())
        yield from (("bad_words", token_id) for word in self.bad_words for token_id in word)

    def _require_temperature(self) -> None:
        require_float("temperature", self.temperature, low=0.0)
        if self.dynamic_temperature is None:
            return
        require_type("dynamic_temperature", self.dynamic_temperature, DynamicTemperature, "a DynamicTemperature")
        if self.temperature != 1.0:
            raise SamplingParamsError(
                "temperature",
                f"temperature is {shown(self.temperature)}, but dynamic_temperature takes its place; leave out one",
            )

    def _require_truncations(self) -> None:
        require_int("top_k", self.top_k, low=0, high=MAX_INT32)
        for param in ("top_p", "typical_p"):
            value = getattr(self, param)
            require_float(param, value, low=0.0, high=1.0)
            if value == 0.0:
                raise SamplingParamsError(
                    param, f"{param} must be above 0; for the most probable token use temperature 0"
                )
        for param in ("min_p", "xtc_probability", "xtc_threshold"):
            require_float(param, getattr(self, param), low=0.0, high=1.0)
        for param in ("epsilon_cutoff", "eta_cutoff"):
            value = getattr(self, param)
            require_float(param, value, low=0.0, high=1.0)
            if value == 1.0:
                raise SamplingParamsError(
                    param, f"{param} must be below 1; for the most probable token use temperature 0"
                )
        require_float("top_n_sigma", self.top_n_sigma, low=0.0)

    def _require_penalties(self) -> None:
        require_float("repetition_penalty", self.repetition_penalty, low=1 / MAX_REPETITION, high=MAX_REPETITION)
        for param in ("presence_penalty", "frequency_penalty"):
            require_float(param, getattr(self, param), low=-MAX_PENALTY, high=MAX_PENALTY)
        require_int("no_repeat_ngram_size", self.no_repeat_ngram_size, low=0, high=MAX_INT32)
        require_float("dry_multiplier", self.dry_multiplier, low=0.0)
        require_float("dry_base", self.dry_base, low=1.0)
        require_int("dry_allowed_length", self.dry_allowed_length, low=0, high=MAX_INT32)

    def _require_token_ids(self) -> None:
        require_type("logit_bias", self.logit_bias, Mapping, "a mapping of token ids to numbers")
        require_count("logit_bias", self.logit_bias, most=MAX_LOGIT_BIASES, kind="ids")
        for token_id, bias in self.logit_bias.items():
            require_int("logit_bias", token_id, low=0, high=MAX_INT32)
            require_float("logit_bias", bias, low=-MAX_LOGIT_BIAS, high=MAX_LOGIT_BIAS)
        require_ids("stop_token_ids", self.stop_token_ids, most=MAX_STOP_TOKEN_IDS)
        if self.allowed_token_ids is not None:
            require_ids("allowed_token_ids", self.allowed_token_ids)
            if not self.allowed_token_ids:
                raise SamplingParamsError("allowed_token_ids", "allowed_token_ids must hold an id, or be null for all")
        require_type("bad_words", self.bad_words, tuple, "a tuple of sequences of token ids")
        require_count("bad_words", self.bad_words, most=MAX_BAD_WORDS, kind="sequences")
        for word in self.bad_words:
            require_ids("bad_words", word)
            if not 1 <= len(word) <= MAX_BAD_WORD_LENGTH:
                raise SamplingParamsError(
                    "bad_words", f"bad_words must be 1 to {MAX_BAD_WORD_LENGTH} tokens long each; one has {len(word)}"
                )

    def _require_length(self) -> None:
        require_int("max_tokens", self.max_tokens, low=1, high=MAX_INT32)
        require_int("min_tokens", self.min_tokens, low=0, high=MAX_INT32)
        if self.min_tokens > self.max_tokens:
            raise SamplingParamsError(
                "min_tokens", f"min_tokens is {self.min_tokens}, above max_tokens, which is {self.max_tokens}"
            )
        require_type("ignore_eos", self.ignore_eos, bool, "true or false")

    def _require_report(self) -> None:
        require_int("seed", self.seed, low=0, high=2**63 - 1)
        if self.logprobs is not None:
            require_int("logprobs", self.logprobs, low=0, high=MAX_TOP_LOGPROBS)
        require_one_of("logprobs_mode", self.logprobs_mode, get_args(LogprobsMode))
        require_one_of("order", self.order, get_args(Order))
