"""The sampling half of a step in TensorFlow: every slot's parameters and history, and the chain over them."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from samplers.chain import process, sample
from samplers.history import History, append
from samplers.kept import Kept
from samplers.logprobs import TokenLogprobs, token_logprobs
from samplers.measures import TokenMeasures, measure
from samplers.params import SamplingParams
from samplers.row import state_row
from samplers.state import SamplingState, advance, neutral_state

Tensor = Any

VARIANTS = ((False, False), (False, True), (True, True))  # processes, truncates: what the rows of a step ask for


class Sampler:
    """Draws tokens for rows of slots from their logits."""

    def __init__(self, *, num_slots: int, vocab_size: int, eos_token_ids: Sequence[int], max_length: int) -> None:
        """Start with neutral parameters in every slot.

        Args:
            num_slots: slots of requests, and of nobody.
            vocab_size: width of the logits.
            eos_token_ids: the model's end-of-sequence ids.
            max_length: positions of a slot.
        """
        self._eos_token_ids = eos_token_ids
        state = neutral_state(num_slots, vocab_size, len(eos_token_ids), max_length)
        self._state = SamplingState(*(tf.Variable(getattr(state, f.name), trainable=False) for f in fields(state)))

    def admit(self, slot: int, prompt_ids: Sequence[int], params: SamplingParams, sample_index: int) -> None:
        """Write a sample's parameters and history into a slot."""
        row = state_row(
            params,
            prompt_ids=prompt_ids,
            sample_index=sample_index,
            eos_token_ids=self._eos_token_ids,
            like=self._state,
        )
        for field in fields(SamplingState):
            getattr(self._state, field.name).scatter_nd_update([[slot]], getattr(row, field.name))

    def take(self, slot: int, params: SamplingParams) -> SamplingState:
        """Bring the state of a slot to the host, as much of it as its parameters ask for."""
        picked = self._state.take(tf.constant([slot]), processes=params.processes, truncates=False)
        return SamplingState(*(getattr(picked, field.name).numpy() for field in fields(picked)))

    def draw(self, logits: Tensor, slots: Tensor, variant: Tensor) -> tuple[Tensor, ...]:
        """Draw a token for every row, and remember it where histories are kept.

        Args:
            logits: raw, float32 [rows, vocab].
            slots: of the rows, int32 [rows].
            variant: index into VARIANTS, int32 []; what none of the rows asks for is not computed.

        Returns:
            Token ids int32 [rows], finite bool [rows], and the fields of `Kept`.
        """
        return tuple(tf.switch_case(variant, [partial(self._draw, logits, slots, *flags) for flags in VARIANTS]))

    def move_on(self, slots: Tensor, moves: Tensor) -> None:
        """Count what was drawn for slots: 1 each, or 0 for those that count nothing; int32 [rows]."""
        self._state.step.scatter_nd_add(slots[:, None], moves)

    def _draw(self, logits: Tensor, slots: Tensor, processes: bool, truncates: bool) -> tuple[Tensor, ...]:
        state = self._state.take(slots, processes=processes, truncates=truncates)
        sampled = sample(logits, state, processes=processes, truncates=truncates)
        if processes:
            history = append(state.history, sampled.token_ids)
            for field in fields(History):
                getattr(self._state, field.name).scatter_nd_update(slots[:, None], getattr(history, field.name))
        return sampled.token_ids, sampled.finite, *(getattr(sampled.kept, field.name) for field in fields(Kept))


def pick_variant(params: Sequence[SamplingParams]) -> int:
    """Return the index of the least variant that does what any of these parameters ask for."""
    processes = any(row.processes for row in params)
    return VARIANTS.index((processes, processes or any(row.truncates for row in params)))


def described(params: SamplingParams) -> bool:
    """Say whether a row's draws are described, for which its state must be taken before them."""
    return params.measures or params.logprobs is not None


def advance_row(state: SamplingState, token_id: int) -> SamplingState:
    """Move one row's state on the host on by the token that was drawn."""
    return advance(state, np.array([token_id], np.int32))


def describe(
    params: SamplingParams, logits: Tensor, state: SamplingState, kept: Kept, token_id: int
) -> TokenLogprobs | None:
    """Describe the draw of one row on the host, if its parameters ask for it.

    Args:
        params: the row's.
        logits: its own, raw, float32 [1, vocab].
        state: that the row was drawn with, on the host.
        kept: what could be drawn, each [1, 1].
        token_id: what was drawn.
    """
    if params.logprobs is None:
        return None
    return token_logprobs(np.asarray(logits)[0], state, kept, token_id, params.logprobs, params.logprobs_mode)


def measure_row(
    params: SamplingParams, logits: Tensor, state: SamplingState, kept: Kept, token_id: int
) -> TokenMeasures | None:
    """Measure the draw of one row on the host, if its parameters ask for it; else as `describe`."""
    if not params.measures:
        return None
    raw, drawn = np.asarray(logits), np.array([token_id], np.int32)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # inf is far away, and NaN is a row that failed
        processed = process(raw, state) if len(state.allowed) else raw
        return TokenMeasures(*measure(raw, processed, kept, state.temperature, drawn)[0].tolist())
