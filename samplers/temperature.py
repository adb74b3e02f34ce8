"""Temperature: what the distance of each token from the best one is divided by, fixed or led by the entropy."""

from typing import Any

from samplers.xp import namespace

Array = Any

SMALLEST, LARGEST = 2.0**-126, 2.0**127  # float32 has no normal numbers beyond; between them every T acts as itself


def effective_temperature(temperature: Array, span: Array, exponent: Array, entropy: Array, count: Array) -> Array:
    """Return each row's T: fixed, or min + (max - min) · (entropy / ln count) ** exponent (Kalomaze 2023, "dynatemp").

    Args:
        temperature: float32 [rows], the least where T is dynamic; 0 for greedy rows.
        span: greatest T less the least, float32 [rows]; 0 where T is fixed.
        exponent: float32 [rows], above 0.
        entropy: of the tokens that may be drawn, in nats, float32 [rows, 1]; of no matter where T is fixed.
        count: how many they are, float32 [rows, 1], likewise; a single one has the least T.

    Returns:
        float32 [rows, 1], at most LARGEST; 1 for greedy rows, whose nearest token is the same at any T.
    """
    xp = namespace(temperature)
    least, span = temperature[:, None], span[:, None]
    highest = xp.log(xp.maximum(count, 2.0))  # one token has no entropy, whatever it is divided by
    ratio = xp.minimum(xp.maximum(xp.divide(entropy, highest), 0.0), 1.0)
    bent = xp.minimum(least + span * xp.power(ratio, exponent[:, None]), LARGEST)
    return xp.where(least > 0.0, xp.where(span > 0.0, bent, least), 1.0)
