"""XTC, "exclude top choices": now and then, remove the most probable tokens and leave the last of them."""

from typing import Any

from samplers.candidates import Candidates
from samplers.noise import coin
from samplers.xp import namespace

Array = Any


def exclude_top_choices(
    candidates: Candidates, probability: Array, threshold: Array, key0: Array, key1: Array, step: Array
) -> Candidates:
    """Remove all tokens of probability `threshold` and more but the least probable (p-e-w 2024, textgen-webui #6335).

    Args:
        candidates: any.
        probability: how often this is done, float32 [rows], in [0, 1].
        threshold: float32 [rows], in [0, 1]; above 0.5 it changes nothing, for no two tokens can reach it.
        key0: first word of each row's key, int32 [rows].
        key1: second word of each row's key, int32 [rows].
        step: index of the token to draw, int32 [rows].
    """
    active = (coin(key0, key1, step) < probability)[:, None]
    bound = -namespace(threshold).log(threshold[:, None] * candidates.sums(active).mass)
    _, last = candidates.extent(candidates.low * 0.0, bound, wanted=active)
    return candidates.between(last, candidates.high, active)
