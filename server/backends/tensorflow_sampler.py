"""The sampling half of a step in TensorFlow: every slot's parameters and history, and the chain over them."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import tensorflow as tf

from samplers.chain import Sampled, process, sample
from samplers.history import History, append
from samplers.kept import Kept
from samplers.params import SamplingParams
from samplers.row import arrays_to_write, state_row
from samplers.state import SamplingState, neutral_state

Tensor = Any

VARIANTS = ((False, False), (False, True), (True, True))  # processes, truncates: what the rows of a step ask for


class Sampler:
    """Draws tokens for rows of slots from their logits."""

    def __init__(
        self,
        *,
        num_slots: int,
        vocab_size: int,
        eos_token_ids: Sequence[int],
        max_length: int,
        kernel: Callable[..., Sequence[Tensor]] | None = None,
    ) -> None:
        """Start with neutral parameters in every slot.

        Args:
            num_slots: slots of requests, and of nobody.
            vocab_size: width of the logits.
            eos_token_ids: the model's end-of-sequence ids.
            max_length: positions of a slot.
            kernel: draws from processed logits and the arrays of `SamplingState.drawing`, and returns those of
                `Sampled`; None: TensorFlow does.
        """
        self._eos_token_ids, self._kernel = eos_token_ids, kernel
        self._processing: set[int] = set()  # slots whose last sample asked for it
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
        for name in arrays_to_write(slot, params, self._processing):
            getattr(self._state, name).scatter_nd_update([[slot]], getattr(row, name))

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
        variants = [partial(self._draw, logits, slots, *flags) for flags in VARIANTS]
        if self._kernel is not None:  # which truncates the rows that ask for it
            _, draw, process_and_draw = variants
            return tuple(tf.cond(variant == len(VARIANTS) - 1, process_and_draw, draw))
        return tuple(tf.switch_case(variant, variants))

    def move_on(self, slots: Tensor, moves: Tensor) -> None:
        """Count what was drawn for slots: 1 each, or 0 for those that count nothing; int32 [rows]."""
        self._state.step.scatter_nd_add(slots[:, None], moves)

    def _draw(self, logits: Tensor, slots: Tensor, processes: bool, truncates: bool) -> tuple[Tensor, ...]:
        state = self._state.take(slots, processes=processes, truncates=truncates)
        if self._kernel is None:
            sampled = sample(logits, state, processes=processes, truncates=truncates)
        else:
            processed = process(logits, state) if processes else logits
            token_ids, finite, *kept = self._kernel(processed, *state.drawing)
            sampled = Sampled(token_ids, finite, Kept(*kept))
        if processes:
            history = append(state.history, sampled.token_ids)
            for field in fields(History):
                getattr(self._state, field.name).scatter_nd_update(slots[:, None], getattr(history, field.name))
        return sampled.token_ids, sampled.finite, *(getattr(sampled.kept, field.name) for field in fields(Kept))


def pick_variant(params: Sequence[SamplingParams]) -> int:
    """Return the index of the least variant that does what any of these parameters ask for."""
    processes = any(row.processes for row in params)
    return VARIANTS.index((processes, processes or any(row.truncates for row in params)))
