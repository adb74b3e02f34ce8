"""What may be drawn: all truncations in the order that each row wants."""

from dataclasses import dataclass
from typing import Any

from samplers.candidates import Candidates
from samplers.interval import deviation
from samplers.state import SamplingState
from samplers.temperature import effective_temperature
from samplers.truncation import epsilon_cutoff, eta_cutoff, min_p, top_k, top_n_sigma, top_p
from samplers.typical import typical_p
from samplers.xp import namespace
from samplers.xtc import exclude_top_choices

Array = Any


@dataclass(frozen=True, slots=True)
class Kept:
    """What may be drawn, as an interval of distances; all float32 [rows, 1].

    A token is kept if low ≤ distance / before ≤ high, where the distance is how far its processed logit lies below the
    best; it is drawn at its tempered distance from the nearest token kept, (distance / before - low) / after.

    Attributes:
        before: temperature that truncation saw; 1 where temperature comes last.
        after: temperature of the draw where it comes last, else 1.
        low: distance of the nearest token kept.
        high: distance beyond which none is kept; inf: all are.
    """

    before: Array
    after: Array
    low: Array
    high: Array

    def tempered(self, distance: Array) -> Array:
        """Return the distances [rows, vocab] that the draw sees: 0 for the best of them, inf for what is not kept."""
        xp = namespace(distance)
        seen = xp.divide(distance, self.before)
        return xp.where((self.low <= seen) & (seen <= self.high), xp.divide(seen - self.low, self.after), float("inf"))


def keep_all(state: SamplingState) -> Kept:
    """Keep every token, for rows without truncations and with a fixed temperature."""
    xp = namespace(state.temperature)
    one = xp.zeros_like(state.temperature)[:, None] + 1.0
    before = xp.where((state.temperature > 0.0)[:, None], state.temperature[:, None], one)
    return Kept(before=before, after=one, low=one - 1.0, high=one * float("inf"))


def truncate(distance: Array, state: SamplingState) -> Kept:
    """Settle each row's temperature, and cut off the tokens that may not be drawn.

    Args:
        distance: of processed logits from the best, float32 [rows, vocab], ≥ 0; inf for banned tokens.
        state: the parameters of these rows.
    """
    xp = namespace(distance)
    last = state.temperature_last[:, None]
    zero = xp.zeros_like(distance[:, :1])
    one, infinity = zero + 1.0, zero + float("inf")
    before = xp.where(last, one, _temperature(state, Candidates(distance, zero, infinity), ~last))
    # Of untempered distances, since the smallest T overflow.
    sigma = xp.divide(deviation(distance, (state.top_n_sigma > 0.0)[:, None]), before)
    candidates = apply_rules(Candidates(xp.divide(distance, before), zero, infinity), sigma, state)
    after = xp.where(last, _temperature(state, candidates, last), one)
    return Kept(before, after, candidates.low, candidates.high)


def apply_rules(candidates: Candidates, sigma: Array, state: SamplingState) -> Candidates:
    """Apply the truncations; the orders differ in where a row's min_p and typical_p stand (see SamplingState).

    Args:
        candidates: all tokens.
        sigma: standard deviation of their distances, float32 [rows, 1], where top_n_sigma wants it.
        state: the parameters of these rows.
    """
    candidates = top_n_sigma(candidates, state.top_n_sigma, sigma)
    candidates = min_p(candidates, state.early_min_p)
    candidates = top_k(candidates, state.top_k)
    candidates = typical_p(candidates, state.early_typical_p)
    candidates = top_p(candidates, state.top_p)
    candidates = min_p(candidates, state.min_p)
    candidates = typical_p(candidates, state.typical_p)
    candidates = epsilon_cutoff(candidates, state.epsilon_cutoff)
    candidates = eta_cutoff(candidates, state.eta_cutoff)
    return exclude_top_choices(
        candidates, state.xtc_probability, state.xtc_threshold, state.key0, state.key1, state.step
    )


def _temperature(state: SamplingState, candidates: Candidates, wanted: Array) -> Array:
    """Settle each row's temperature, which may depend on the candidates, seen untempered; of rows that want it."""
    sums = candidates.sums(wanted & (state.temperature_span > 0.0)[:, None])
    return effective_temperature(
        state.temperature, state.temperature_span, state.temperature_exponent, sums.entropy, sums.count
    )
