"""The chain: from logits to a token, in one fixed and published order."""

from dataclasses import dataclass
from typing import Any

from samplers.bias import apply_logit_bias, apply_min_tokens
from samplers.noise import gumbel_noise
from samplers.state import SamplingState
from samplers.temperature import tempered_distance
from samplers.truncation import bound_top_k, bound_top_p, keep_min_p
from samplers.xp import namespace

Array = Any


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a step drew.

    Attributes:
        token_ids: int32 [rows]; 0 where the row is not finite.
        finite: bool [rows]; False where the logits held NaN or +inf, or every token was banned.
    """

    token_ids: Array
    finite: Array


def sample(logits: Array, state: SamplingState, *, processes: bool = True, truncates: bool = True) -> Sampled:
    """Draw one token for every row.

    In this order: 1. logit_bias; 2. min_tokens; 3. temperature; 4. top_k; 5. top_p; 6. min_p; 7. the draw: the arg max
    of tempered logits plus Gumbel noise (Maddison et al. 2014, arXiv:1411.0030), or without noise at temperature 0.
    Each truncation renormalises over what the one before it kept.

    Args:
        logits: float32 [rows, vocab].
        state: the parameters of these rows.
        processes: False leaves out steps 1 and 2, for batches in which every row has their identities.
        truncates: False leaves out steps 4 to 6, likewise.
    """
    xp = namespace(logits)
    if processes:
        logits = process(logits, state)
    distance = tempered_distance(logits, state.temperature)
    if truncates:
        distance = truncate(distance, state)
    finite = xp.isfinite(xp.max(-distance))[:, 0]
    noise = gumbel_noise(state.key0, state.key1, state.step, logits.shape[-1])
    noise = xp.where((state.temperature > 0.0)[:, None], noise, 0.0)
    token_ids = xp.argmax(noise - distance)
    return Sampled(xp.where(finite, token_ids, xp.zeros_like(token_ids)), finite)


def process(logits: Array, state: SamplingState) -> Array:
    """Apply what comes before temperature: steps 1 and 2 of the chain."""
    logits = apply_logit_bias(logits, state.bias)
    return apply_min_tokens(logits, state.stop_ids, state.min_tokens, state.step)


def truncate(distance: Array, state: SamplingState) -> Array:
    """Move the tokens that may not be drawn to an infinite distance: steps 4 to 6 of the chain."""
    xp = namespace(distance)
    kept = distance <= bound_top_k(distance, state.top_k)
    weights = xp.where(kept, xp.exp(-distance), 0.0)
    kept = kept & (distance <= bound_top_p(distance, weights, state.top_p)) & keep_min_p(weights, state.min_p)
    return xp.where(kept, distance, float("inf"))
