"""Measures: what the model thought of each drawn token, and what the sampler made of it."""

from typing import Any, NamedTuple

from samplers.chain import distance_from_best
from samplers.kept import Kept
from samplers.xp import namespace

Array = Any


class TokenMeasures(NamedTuple):
    """One token's measures; p is the model's own distribution, q the one that the token was drawn from.

    At temperature 0, q holds the drawn token alone.

    Attributes:
        surprise: -ln p(token), in nats.
        logprob: ln q(token), in nats.
        entropy: of q, in nats.
        kl: KL(q‖p), in nats, ≥ 0.
        kept: how many tokens q gives any probability.
        kept_mass: probability, under the tempered distribution, of the tokens that truncation left, in (0, 1].
        top_mass: probability of the most probable token under q.
    """

    surprise: float
    logprob: float
    entropy: float
    kl: float
    kept: float
    kept_mass: float
    top_mass: float


def measure(logits: Array, processed: Array, kept: Kept, temperature: Array, token_ids: Array) -> Array:
    """Measure the draw of every row; ours.

    All is computed from distances to the best token, so that no temperature overflows. With t the tempered distances of
    the kept tokens and K = Σ exp(-t): ln q = -t - ln K, H(q) = ln K + Σ q t, and KL(q‖p) = -H(q) - Σ q ln p.

    Args:
        logits: the model's own, float32 [rows, vocab]; those of a row that is not finite give numbers without meaning.
        processed: after steps 1 to 7 of the chain, float32 [rows, vocab].
        kept: what could be drawn.
        temperature: float32 [rows]; only whether it is 0 matters here, `kept` knows the rest.
        token_ids: drawn, int32 [rows].

    Returns:
        float32 [rows, 7]: the fields of `TokenMeasures`.
    """
    xp = namespace(logits)
    kernel = xp.kernel("measure", logits)
    if kernel is not None:
        return kernel(logits, processed, temperature, token_ids, kept.before, kept.after, kept.low, kept.high)
    greedy = (temperature == 0.0)[:, None]
    zero, one = xp.zeros_like(logits), xp.zeros_like(kept.low) + 1.0
    drawn = xp.arange(logits.shape[-1], like=logits)[None] == token_ids[:, None]
    raw = -distance_from_best(logits)
    raw = xp.where(xp.isfinite(raw), raw, 0.0) - xp.log(xp.sum(xp.exp(raw)))  # ln p; of banned tokens it is not used
    distance = distance_from_best(processed)
    tempered = kept.tempered(distance)
    tempered = xp.where(greedy, xp.where(drawn, zero, float("inf")), tempered)
    inside = xp.isfinite(tempered)
    near = xp.where(inside, tempered, 0.0)
    weights = xp.where(inside, xp.exp(-near), 0.0)
    mass = xp.sum(weights)
    entropy = xp.log(mass) + xp.divide(xp.sum(near * weights), mass)
    cross_entropy = -xp.divide(xp.sum(raw * weights), mass)
    whole = xp.sum(xp.exp(-xp.divide(xp.divide(distance, kept.before), kept.after)))
    kept_mass = xp.divide(xp.exp(-xp.divide(kept.low, kept.after)) * mass, whole)
    columns = [
        -xp.sum(xp.where(drawn, raw, 0.0)),
        -xp.sum(xp.where(drawn, near, 0.0)) - xp.log(mass),
        entropy,
        xp.maximum(cross_entropy - entropy, 0.0),  # rounding puts some zeros below 0
        xp.sum(xp.where(inside, zero + 1.0, 0.0)),
        xp.where(greedy, one, xp.minimum(kept_mass, 1.0)),
        xp.divide(one, mass),
    ]
    return xp.concat(columns)
