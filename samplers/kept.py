"""What may be drawn: all truncations in the order that each row wants, over few tokens where that is enough."""

from dataclasses import dataclass
from typing import Any

from samplers.candidates import Candidates
from samplers.partition import partition
from samplers.state import SamplingState
from samplers.temperature import effective_temperature
from samplers.truncation import epsilon_cutoff, eta_cutoff, min_p, top_k, top_n_sigma, top_p
from samplers.typical import typical_p
from samplers.xp import namespace
from samplers.xtc import exclude_top_choices

Array = Any

SHORTLIST = 1024  # tokens; more hold the nucleus of flatter rows, fewer cost less


@dataclass(frozen=True, slots=True)
class Kept:
    """What may be drawn, as an interval of distances; all float32 [rows, 1].

    A token is kept if low ≤ distance / before ≤ high, where the distance is how far its processed logit lies below the
    best; its tempered distance is distance / before / after.

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
        """Return the distances [rows, vocab] that the draw sees: inf for tokens that may not be drawn."""
        xp = namespace(distance)
        seen = xp.divide(distance, self.before)
        return xp.where((self.low <= seen) & (seen <= self.high), xp.divide(seen, self.after), float("inf"))


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
    one = xp.zeros_like(distance[:, :1]) + 1.0
    untempered = partition(distance, one)
    temperature = _temperature(state, untempered.entropy, untempered.count)
    before = xp.where(state.temperature_last[:, None], one, temperature)
    whole = partition(distance, before)

    def narrow(distance: Array, reach: Array) -> Candidates:
        nothing = xp.zeros_like(reach)
        everything = Candidates(
            distance=xp.divide(distance, before),
            reach=xp.divide(reach, before),
            whole=whole,
            low=nothing,
            high=nothing + float("inf"),
            certain=reach >= 0.0,
        )
        return apply_rules(everything, state)

    def settle(candidates: Candidates) -> Array:
        after = _temperature(state, candidates.entropy, candidates.count)
        return xp.concat([candidates.low, candidates.high, xp.where(state.temperature_last[:, None], after, one)])

    def settle_whole_rows() -> Array:
        return settle(narrow(distance, one * float("inf")))

    shortlist = xp.kernel("shortlist", distance)
    if shortlist is None:
        settled = settle_whole_rows()
    else:
        nearest = narrow(*shortlist(distance, SHORTLIST))
        settled = xp.when_all(nearest.certain, lambda: settle(nearest), settle_whole_rows)
    low, high, after = (settled[:, i : i + 1] for i in range(3))
    return Kept(before, after, low, high)


def apply_rules(candidates: Candidates, state: SamplingState) -> Candidates:
    """Apply the truncations; the orders differ in where a row's min_p and typical_p stand (see SamplingState)."""
    candidates = top_n_sigma(candidates, state.top_n_sigma)
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


def _temperature(state: SamplingState, entropy: Array, count: Array) -> Array:
    return effective_temperature(state.temperature, state.temperature_span, state.temperature_exponent, entropy, count)
