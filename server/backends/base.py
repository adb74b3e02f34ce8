"""Backend: what the engine asks of a framework. Slots, token ids and positions; no requests, no HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from samplers.logprobs import TokenLogprobs
from samplers.measures import TokenMeasures
from samplers.params import SamplingParams
from server.backends.quantization import Quantization
from server.histogram import Histogram
from server.models.progress import Progress

__all__ = [
    "COMPILE_EVENTS",
    "SAMPLER_SECONDS",
    "Backend",
    "Decoded",
    "Embedder",
    "PromptPiece",
    "Reproducible",
    "TokenLogprobs",
    "TokenMeasures",
]

Reproducible = Literal["bitwise", "noise"]
# Programs that were compiled, or could not be; and those given up because a step's arguments did not fit them.
COMPILE_EVENTS = ("compiled", "failed", "abandoned")
SAMPLER_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """Consecutive tokens of one prompt, to be written into one slot.

    Attributes:
        slot: where they go.
        token_ids: the tokens.
        position: of the first of them.
    """

    slot: int
    token_ids: Sequence[int]
    position: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one decode step drew, row by row, in the order of the slots asked for.

    Attributes:
        token_ids: the drawn tokens.
        finite: False where the row's logits held NaN, +inf, or no finite value: its token means nothing.
        logprobs: None for rows that did not ask.
        measures: likewise.
    """

    token_ids: list[int]
    finite: list[bool]
    logprobs: list[TokenLogprobs | None]
    measures: list[TokenMeasures | None]


class Backend(Protocol):
    """A model's weights, its KV slots, and its compiled decode-and-sample step.

    A slot holds one sequence: its keys and values, its sampling parameters, its last token and its position, all on
    the device. The caller prefills every prompt token but the last, then admits the slot with the last one; from then
    on `decode` feeds each slot's last token, draws the next and moves the slot on by one position.

    Attributes:
        framework: `torch` or `tensorflow`.
        device: `cpu`, `cuda:0`, …
        dtype: of weights and cache.
        quantization: of weight matrices; none: they have `dtype`.
        vocab_size: width of the logits.
        num_slots: sequences held at once.
        max_length: positions of a slot; prompt and generated tokens together.
        max_steps: steps that one `decode_steps` call draws at most.
        prefill_chunk: tokens that one `prefill` call takes at most, all its pieces together.
        prefill_least: tokens below which a call takes no less time.
        eos_token_ids: the model's own end-of-sequence ids.
        sampler_seconds: of each step, what drawing took beside the model; None: it cannot be told apart.
    """

    framework: str
    device: str
    dtype: str
    quantization: Quantization
    vocab_size: int
    num_slots: int
    max_length: int
    max_steps: int
    prefill_chunk: int
    prefill_least: int
    eos_token_ids: tuple[int, ...]
    sampler_seconds: Histogram | None

    @property
    def compiled_share(self) -> float:
        """Return the share of the decode step's programs that are compiled, 0 to 1; any thread may ask."""

    @property
    def compile_events(self) -> Mapping[str, int]:
        """Count what has come of compiling, by name of COMPILE_EVENTS; any thread may ask."""

    @property
    def unmoved(self) -> bool:
        """Say, after a decode that raised, whether every slot stands where it stood: so it may be tried with fewer."""

    def prefill(self, pieces: Sequence[PromptPiece]) -> None:
        """Write the keys and values of up to `prefill_chunk` prompt tokens, of one prompt or several."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a slot begin with the first `length` positions of another one's keys and values."""

    def admit(
        self, slot: int, prompt_ids: Sequence[int], params: SamplingParams, sample_index: int = 0
    ) -> Reproducible:
        """Make a prefilled slot ready to decode; the answer says what its seed is good for.

        Args:
            slot: a slot whose first `len(prompt_ids) - 1` positions are filled.
            prompt_ids: the whole prompt; its last token is the first to be fed.
            params: this request's sampling parameters.
            sample_index: which of the request's n samples this is; part of the noise's name.
        """

    def decode(self, slots: Sequence[int]) -> Decoded:
        """Feed each slot's last token, draw its next one, and move it on by one position."""

    def decode_steps(self, slots: Sequence[int], num_steps: int) -> list[Decoded]:
        """Decode up to so many times in one call, which saves the calls where a step is short.

        A slot that draws a stop id, its last token by `max_tokens`, or a row that is not finite, stays where it is and
        draws no more; what later steps say of it means nothing. The call ends when no slot is left.

        Args:
            slots: as `decode`.
            num_steps: from 1 to `max_steps`.

        Returns:
            Each step's draws, at least one step.
        """

    def logits(self, slot: int) -> Sequence[float]:
        """Return the raw next-token logits of an admitted slot, drawing nothing and moving nothing."""

    def release(self, slot: int) -> None:
        """End a slot's sequence; its keys and values may stay, if finite, until the next one overwrites them."""

    def close(self) -> None:
        """Stop background work and free the device's memory."""


class Embedder(Protocol):
    """A model's lower blocks, which turn texts into vectors.

    Attributes:
        framework: `torch` or `tensorflow`.
        device: `cpu`, `cuda:0`, …
        dtype: of weights and residual stream.
        layers: the blocks after which hidden states are taken; 0: before the first.
        width: of a vector.
        max_length: tokens of a row that are read.
    """

    framework: str
    device: str
    dtype: str
    layers: tuple[int, ...]
    width: int
    max_length: int

    def pool(self, token_ids: Sequence[Sequence[int]], progress: Progress | None = None) -> np.ndarray:
        """Return a vector for each row of tokens, float32 [rows, width].

        Args:
            token_ids: of each row, from 0 to `vocab_size` - 1; what is beyond `max_length` is not read.
            progress: called after each pass; None: nobody is told. What it raises ends the work.

        Returns:
            For each layer the mean over tokens of the hidden state, each divided by its root mean square; zeros for a
            row without tokens.
        """
