"""Prompt, Request and Sample: what to continue, how, and each of its continuations, as the engine sees them."""

from dataclasses import dataclass, field
from enum import StrEnum

from samplers.params import SamplingParams
from server.engine.stream import TokenStream


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
    """

    token_ids: tuple[int, ...]

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
    first_sample: int = 0
    probe: bool = False
    admitted_s: float | None = None
    started_s: float | None = None
    samples: list["Sample"] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Sample:
    """One continuation of a request's prompt; holds a slot while it runs.

    Attributes:
        request: whose sample this is.
        index: 0 to n - 1; with the request's `first_sample` part of the noise's name.
        slot: row of the backend's state; None while waiting and once finished.
        num_prefilled: prompt tokens whose keys and values are in the slot.
        decoding: whether the backend has admitted the slot.
        num_generated: tokens drawn so far.
        finish_reason: None while it lives.
    """

    request: Request
    index: int
    slot: int | None = None
    num_prefilled: int = 0
    decoding: bool = False
    num_generated: int = 0
    finish_reason: FinishReason | None = None

    @property
    def prefilled(self) -> bool:
        """Say whether all that is to prefill has been."""
        return self.num_prefilled == self.request.prompt.num_prefill
