"""What the oracle says of a row: its parameters, text and seed, spelled as the samplers have them."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from samplers.params import SamplingParams
from tests import reference
from tests.samplers.conftest import PROMPT, Framework, rows_of

NAMES = (
    "temperature", "dynamic_temperature", "top_k", "top_p", "min_p", "typical_p", "top_n_sigma", "epsilon_cutoff",
    "eta_cutoff", "xtc_probability", "xtc_threshold", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "no_repeat_ngram_size", "dry_multiplier", "dry_base", "dry_allowed_length", "logit_bias", "allowed_token_ids",
    "bad_words", "order",
)  # fmt: skip


class Expected(NamedTuple):
    """What a row may draw, what it draws, and how clear both are; token 0 where nothing may be drawn."""

    among: reference.Distribution
    token: int
    lead: float


def expect(
    logits: np.ndarray,
    params: SamplingParams,
    *,
    prompt: Sequence[int] = PROMPT,
    generated: Sequence[int] = (),
    sample_index: int = 0,
    eos: Iterable[int] = (),
) -> Expected:
    """Ask the oracle about one row of logits."""
    key, step = reference.row_key(params.seed, prompt, sample_index), len(generated)
    stop_ids = {*params.stop_token_ids, *(() if params.ignore_eos else eos)}
    among = reference.distribution(
        logits.tolist(),
        prompt=prompt,
        generated=generated,
        banned=stop_ids if step < params.min_tokens else (),
        xtc_coin=reference.coin(key, step),
        **{name: getattr(params, name) for name in NAMES},
    )
    if not among.kept:
        return Expected(among, 0, math.inf)
    return Expected(among, *reference.draw(among, key, step))


def kept_patterns(xp: Framework, logits: Sequence[float], asked: Sequence[SamplingParams]) -> list[str]:
    """Return what each of several parameters keeps of one row, as in "YnnY", after the oracle has said the same."""
    rows = np.tile(np.array(logits, np.float32), (len(asked), 1))
    kept = xp.kept(rows, rows_of(asked, len(logits), prompt=(0,)))
    for row, params in enumerate(asked):
        assert set(np.flatnonzero(kept[row])) == expect(rows[row], params, prompt=(0,), sample_index=row).among.kept, (
            params
        )
    return ["".join("nY"[int(keep)] for keep in row) for row in kept]
