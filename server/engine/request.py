"""Prompt, Request and Sample: what to continue, how, and each of its continuations, as the engine sees them."""

from dataclasses import dataclass, field
from enum import StrEnum

from samplers.params import SamplingParams
from server.backends.base import Decoded
from server.engine.stream import TokenEvent, TokenStream
from server.errors import ContextLengthError, InvalidRequestError


class FinishReason(StrEnum):
    """Why a sample ended."""

    STOP = "stop"
    LENGTH = "length"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """Tokens to continue; all samples of the same object, of whatever request, share one prefill.

    Attributes:
        token_ids: at least one.
        owner: who may share its beginning with prompts of their own, where the engine keeps prefixes; None: nobody.
    """

    token_ids: tuple[int, ...]
    owner: bytes | None = None

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def num_prefill(self) -> int:
        """Count the tokens to prefill: all but the last, which the first decode step feeds."""
        return len(self.token_ids) - 1


@dataclass(eq=False, slots=True)
class Request:
    """A prompt, how to sample from it, and where the tokens go.

    Attributes:
        prompt: may be shared with other requests.
        params: shared by all samples.
        stop_ids: token ids that end a sample, the model's own included unless they are ignored.
        stream: receives the events.
        submitted_s: clock reading at submission.
        deadline_s: clock reading at which the samples end with what they have; None: never.
        queue_deadline_s: clock reading at which the request fails if no sample has had a slot; None: never.
        first_sample: what the noise calls the first sample; the others follow.
        probe: whether the raw next-token logits are wanted, and no token.
        admitted_s: clock reading when the first sample got a slot.
        started_s: clock reading when the first sample began to decode.
        samples: the n continuations.
    """

    prompt: Prompt
    params: SamplingParams
    stop_ids: frozenset[int]
    stream: TokenStream
    submitted_s: float
    deadline_s: float | None
    queue_deadline_s: float | None = None
    first_sample: int = 0
    probe: bool = False
    admitted_s: float | None = None
    started_s: float | None = None
    samples: list["Sample"] = field(default_factory=list)

    def is_late(self, now_s: float) -> bool:
        """Say whether the request has waited for its first slot for too long."""
        return self.admitted_s is None and self.queue_deadline_s is not None and now_s >= self.queue_deadline_s


@dataclass(eq=False, slots=True)
class Sample:
    """One continuation of a request's prompt; holds a slot while it runs.

    Attributes:
        request: whose sample this is.
        index: 0 to n - 1; with the request's `first_sample` part of the noise's name.
        slot: row of the backend's state; None while waiting and once finished.
        num_prefilled: prompt tokens whose keys and values are in the slot.
        prefix: where its prompt's beginning is to be copied from, a slot, and how many tokens; None: from nowhere.
        decoding: whether the backend has admitted the slot.
        observed: whether its draws are measured for the engine's counts.
        num_generated: tokens drawn so far.
        finish_reason: None while it lives.
    """

    request: Request
    index: int
    slot: int | None = None
    num_prefilled: int = 0
    prefix: tuple[int, int] | None = None
    decoding: bool = False
    observed: bool = False
    num_generated: int = 0
    finish_reason: FinishReason | None = None

    @property
    def num_tokens(self) -> int:
        """Count the tokens that it may draw; with the first sample of a request go those of the prompt."""
        return self.request.params.max_tokens + (0 if self.index else len(self.request.prompt))

    def event(self, decoded: Decoded, row: int) -> TokenEvent:
        """Say what a step added to the sample, which has been counted it already."""
        token_id, logprobs, measures = decoded.token_ids[row], decoded.logprobs[row], decoded.measures[row]
        reason = None
        if token_id in self.request.stop_ids:
            reason = FinishReason.STOP
        elif self.num_generated == self.request.params.max_tokens:
            reason = FinishReason.LENGTH
        return TokenEvent(
            self.index,
            (token_id,),
            () if logprobs is None else (logprobs,),
            (measures,) if measures is not None and self.request.params.measures else (),
            finish_reason=reason,
        )

    @property
    def prefilled(self) -> bool:
        """Say whether all that is to prefill has been."""
        return self.num_prefilled == self.request.prompt.num_prefill


def require_fit(prompt: Prompt, params: SamplingParams, vocab_size: int, max_length: int) -> None:
    """Refuse what no slot can hold.

    Args:
        prompt: to continue.
        params: say how far.
        vocab_size: width of the model's logits.
        max_length: positions of a slot.

    Raises:
        InvalidRequestError: an empty prompt, or a token id that the model does not have.
        ContextLengthError: prompt and `max_tokens` exceed a slot.
    """
    if not prompt:
        raise InvalidRequestError("the prompt is empty; give at least one token", param="prompt")
    beyond = next((token_id for token_id in prompt.token_ids if not 0 <= token_id < vocab_size), None)
    if beyond is not None:
        raise InvalidRequestError(
            f"the prompt holds token {beyond}; this model's token ids are 0 to {vocab_size - 1}", param="prompt"
        )
    if len(prompt) + params.max_tokens > max_length:
        raise ContextLengthError(
            f"the prompt's {len(prompt)} tokens and max_tokens {params.max_tokens} exceed the {max_length} "
            "positions that this server holds per sequence; shorten the prompt or lower max_tokens",
            param="max_tokens" if len(prompt) < max_length else "prompt",
        )
