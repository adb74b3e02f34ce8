"""Log-probabilities of drawn tokens and their neighbours, in the distribution asked for; NumPy, on the host."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from samplers.chain import distance_from_best, process
from samplers.kept import Kept
from samplers.params import LogprobsMode
from samplers.state import SamplingState

Array = Any


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token's log-probability and its surroundings.

    Attributes:
        logprob: natural logarithm of the token's probability in the distribution asked for.
        top_ids: the most probable token ids, best first; fewer where fewer could be drawn.
        top_logprobs: their log-probabilities.
        entropy: of that distribution, in nats.
        kept: how many tokens could have been drawn, whatever distribution was asked for.
    """

    logprob: float
    top_ids: tuple[int, ...]
    top_logprobs: tuple[float, ...]
    entropy: float
    kept: int


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # inf is far away, and NaN marks a row that failed
def token_logprobs(
    logits: Array, row: SamplingState, kept: Kept, token_id: int, top: int, mode: LogprobsMode
) -> TokenLogprobs:
    """Describe the draw of one token.

    Args:
        logits: raw, float32 [vocab].
        row: the one-row state, [1, …], that the token was drawn with; without the arrays of processing (`take`), the
            logits are taken to have been left as they are.
        kept: what `sample` said could have been drawn, [1, 1].
        token_id: the drawn token.
        top: how many of the most probable tokens to report, ≥ 0.
        mode: `raw` is the model's own distribution, `tempered` is after processing and temperature, `processed` is the
            one that was drawn from. At temperature 0 the latter two hold one token, whose log-probability is 0.
    """
    processed = process(logits[None], row) if len(row.allowed) else logits[None]
    distance = distance_from_best(processed)
    drawn_from = kept.tempered(distance)
    if row.temperature[0] == 0.0:
        only = np.arange(logits.shape[0]) == token_id
        distance = drawn_from = np.where(only, np.float32(0.0), np.float32(np.inf))[None]
    distances = {
        "raw": logits.max() - logits,
        "tempered": (distance / kept.before / kept.after)[0],
        "processed": drawn_from[0],
    }
    logprobs = _log_softmax(distances[mode])
    best = _highest(logprobs, top)
    possible = logprobs[np.isfinite(logprobs)]
    return TokenLogprobs(
        logprob=float(logprobs[token_id]),
        top_ids=tuple(int(i) for i in best),
        top_logprobs=tuple(float(logprobs[i]) for i in best),
        entropy=float(0.0 - (np.exp(possible) * possible).sum()),
        kept=int(np.isfinite(drawn_from).sum()),
    )


def _log_softmax(distance: Array) -> Array:
    distance = distance.astype(np.float64)
    return 0.0 - (distance + np.log(np.exp(-distance).sum()))  # subtracted from 0, certainty is 0.0 and not -0.0


def _highest(logprobs: Array, count: int) -> Array:
    """Return the ids of the `count` greatest finite entries, best first; the lower id wins a tie."""
    if count == 0:
        return np.zeros(0, np.int64)
    threshold = np.partition(logprobs, -count)[-count] if count < len(logprobs) else -np.inf
    candidates = np.flatnonzero((logprobs >= threshold) & np.isfinite(logprobs))
    return candidates[np.argsort(-logprobs[candidates], kind="stable")][:count]
