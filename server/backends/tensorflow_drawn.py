"""What a call drew, brought to the host, and described there for the rows that ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samplers.chain import process
from samplers.kept import Kept
from samplers.logprobs import TokenLogprobs, token_logprobs
from samplers.measures import TokenMeasures, measure
from samplers.params import SamplingParams
from samplers.state import SamplingState, advance
from server.backends.base import Decoded

Tensor = Any


@dataclass(slots=True)
class Described:
    """A row whose draws are to be described.

    Attributes:
        row: its place in the arrays.
        params: what it asks for.
        state: that its next token is drawn with, on the host; it moves on with each.
    """

    row: int
    params: SamplingParams
    state: SamplingState


def read_steps(left: Sequence[Tensor], rows: int, described: Sequence[Described]) -> list[Decoded]:
    """Return what each step drew.

    Args:
        left: what `Decoding.steps` returned; its first rows count.
        rows: how many.
        described: those that ask for more than their tokens.
    """
    num_drawn, token_ids, finite, logits, *kept = left
    token_ids, finite = token_ids.numpy()[:, :rows].tolist(), finite.numpy()[:, :rows].tolist()
    decoded = []
    for number in range(int(num_drawn)):
        step = Decoded(token_ids[number], finite[number], [None] * rows, [None] * rows)
        for one in described:
            row, token_id = one.row, step.token_ids[one.row]
            own = logits[number, row : row + 1].numpy()
            span = Kept(*(field[number, row : row + 1].numpy() for field in kept))
            step.logprobs[row] = describe(one.params, own, one.state, span, token_id)
            step.measures[row] = measure_row(one.params, own, one.state, span, token_id)
            one.state = advance(one.state, np.array([token_id], np.int32))
        decoded.append(step)
    return decoded


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
