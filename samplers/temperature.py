"""Temperature: the distance of each token from the best one, divided by T."""

from typing import Any

from samplers.xp import namespace

Array = Any

SMALLEST, LARGEST = 2.0**-126, 2.0**127  # float32 has no normal numbers beyond; between them every T acts as itself


def tempered_distance(logits: Array, temperature: Array) -> Array:
    """Return (max - logits) / T: the tempered logits, negated, with their maximum moved to 0.

    Subtracting the maximum before dividing keeps every T > 0 exact: no T overflows, and the smallest ones leave only
    the best tokens at a finite distance.

    Args:
        logits: float32 [rows, vocab]; -inf bans a token.
        temperature: float32 [rows], 0 or from SMALLEST to LARGEST; 0 counts as 1 here, since a greedy row draws the
            nearest token at any T.

    Returns:
        float32 [rows, vocab], ≥ 0; 0 for the best tokens, inf for banned ones, NaN in rows that hold NaN or +inf or
        nothing but -inf.
    """
    xp = namespace(logits)
    divisor = xp.where(temperature > 0.0, temperature, xp.zeros_like(temperature) + 1.0)
    return (xp.max(logits) - logits) / divisor[:, None]
