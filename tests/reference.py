"""The samplers once more, slowly: one row, float64, plain loops and sorting, written from the papers.

Nothing of `samplers/` is used here. Threefry-2x32-20 is that of Salmon et al. 2011, the Gumbel draw that of Maddison et
al. 2014 (arXiv:1411.0030), top-k of Fan et al. 2018 (1805.04833), top-p of Holtzman et al. 2020 (1904.09751), min-p of
Nguyen et al. 2024 (2407.01082).

Tokens are compared by their distance: how far a logit lies below the best one. A token's margin says how near the
decision to keep it was: the least change, in the decision's own unit, that would have turned it. A float32 sampler may
differ where it is tiny.
"""

import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MASK = 2**32 - 1
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


@dataclass(frozen=True)
class Distribution:
    """What may be drawn, and how probable each token is.

    Attributes:
        distance: of every token, tempered; inf where the token may not be drawn.
        margin: of the nearest decision about every token.
    """

    distance: list[float]
    margin: list[float]

    @property
    def slack(self) -> float:
        """Return the margin of the nearest decision of all."""
        return min(self.margin)

    @property
    def kept(self) -> set[int]:
        return {token for token, d in enumerate(self.distance) if d < math.inf}

    @property
    def probabilities(self) -> list[float]:
        total = math.fsum(math.exp(-d) for d in self.distance)
        return [math.exp(-d) / total for d in self.distance]

    @property
    def logprobs(self) -> list[float]:
        log_total = math.log(math.fsum(math.exp(-d) for d in self.distance))
        return [-d - log_total for d in self.distance]

    @property
    def entropy(self) -> float:
        return -math.fsum(p * math.log(p) for p in self.probabilities if p > 0.0)


def threefry(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """Encrypt a counter; all words are unsigned."""
    schedule = (key[0], key[1], 0x1BD11BDA ^ key[0] ^ key[1])
    x0, x1 = (counter[0] + schedule[0]) & MASK, (counter[1] + schedule[1]) & MASK
    for i in range(20):
        rotation = ROTATIONS[i % 8]
        x0 = (x0 + x1) & MASK
        x1 = ((x1 << rotation) | (x1 >> (32 - rotation))) & MASK
        x1 ^= x0
        if i % 4 == 3:
            injection = i // 4 + 1
            x0 = (x0 + schedule[injection % 3]) & MASK
            x1 = (x1 + schedule[(injection + 1) % 3] + injection) & MASK
    return x0, x1


def row_key(seed: int, prompt_ids: Sequence[int], sample_index: int) -> tuple[int, int]:
    """Derive the unsigned key of one sample's noise."""
    checksum = zlib.crc32(struct.pack(f"<{len(prompt_ids)}I", *prompt_ids))
    return threefry((seed & MASK, seed >> 32), (sample_index, checksum))


def noise_words(key: tuple[int, int], step: int, vocab_size: int) -> list[int]:
    """Return the unsigned word of every token: first words for the lower half of the vocabulary, then second ones."""
    half = (vocab_size + 1) // 2
    pairs = [threefry(key, (step, v)) for v in range(half)]
    return [pairs[v][0] if v < half else pairs[v - half][1] for v in range(vocab_size)]


def gumbel(word: int) -> float:
    """Turn a word into Gumbel noise; only the uniform number is rounded to float32, as it is defined to be."""
    (rounded,) = struct.unpack("f", struct.pack("f", (word >> 1) | 1))
    return -math.log(-math.log1p(-min(rounded * 2.0**-31, 1.0 - 2.0**-24)))


def distribution(
    logits: Sequence[float],
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    logit_bias: Mapping[int, float] | None = None,
    banned: Iterable[int] = (),
) -> Distribution:
    """Apply bias, bans, temperature, top-k, top-p and min-p, in this order.

    Args:
        logits: of one row; finite or -inf.
        temperature: above 0, or 0 for the best token alone.
        top_k: tokens to keep; 0 keeps all.
        top_p: probability to reach; 1 keeps all.
        min_p: least ratio to the best probability; 0 keeps all.
        logit_bias: what to add to which token's logit.
        banned: tokens that may not be drawn.
    """
    biased = [float(logit) + (logit_bias or {}).get(token, 0.0) for token, logit in enumerate(logits)]
    for token in banned:
        biased[token] = -math.inf
    best = max(biased)
    if temperature == 0.0:
        return _best_alone(biased)
    distance = [(best - logit) / temperature for logit in biased]
    margin = [math.inf] * len(distance)
    for rule, limit in ((_top_k, top_k), (_top_p, top_p), (_min_p, min_p)):
        kept, near = rule(distance, limit)
        distance = [d if keep else math.inf for d, keep in zip(distance, kept, strict=True)]
        margin = [min(pair) for pair in zip(margin, near, strict=True)]
    return Distribution(distance, margin)


def _best_alone(logits: list[float]) -> Distribution:
    best = logits.index(max(logits))
    distance = [0.0 if token == best else math.inf for token in range(len(logits))]
    return Distribution(distance, [logits[best] - logit or math.inf for logit in logits])


Decisions = tuple[list[bool], list[float]]


def _everything(distance: list[float]) -> Decisions:
    return [True] * len(distance), [math.inf] * len(distance)


def _top_k(distance: list[float], k: int) -> Decisions:
    nearest = sorted(d for d in distance if d < math.inf)
    if k == 0 or k >= len(nearest):
        return _everything(distance)
    limit, following = nearest[k - 1], nearest[k]
    gap = (following - limit) / max(1.0, limit) or math.inf
    return [d <= limit for d in distance], [gap if d in (limit, following) else math.inf for d in distance]


def _top_p(distance: list[float], p: float) -> Decisions:
    """Keep a token if those nearer than it do not reach p yet; tokens that tie are kept together."""
    if p >= 1.0:
        return _everything(distance)
    nearest = sorted(d for d in distance if d < math.inf)
    total = math.fsum(math.exp(-d) for d in nearest)
    nearer, mass = {math.inf: 1.0}, 0.0
    for d in nearest:
        nearer.setdefault(d, mass)
        mass += math.exp(-d) / total
    return [nearer[d] < p for d in distance], [abs(nearer[d] - p) for d in distance]


def _min_p(distance: list[float], min_p: float) -> Decisions:
    if min_p == 0.0:
        return _everything(distance)
    limit = -math.log(min_p)
    return [d <= limit for d in distance], [abs(d - limit) or math.inf for d in distance]


def draw(among: Distribution, key: tuple[int, int], step: int) -> tuple[int, float]:
    """Draw a token by the Gumbel trick, and say by how much it won."""
    words = noise_words(key, step, len(among.distance))
    scores = [gumbel(word) - d for word, d in zip(words, among.distance, strict=True)]
    first, *others = sorted(scores, reverse=True)
    return scores.index(first), first - others[0] if others else math.inf
