"""The samplers once more, slowly: one row, float64, plain loops and sorting, written from the papers.

Nothing of `samplers/` is used here. Top-k is that of Fan et al. 2018 (arXiv:1805.04833), top-p of Holtzman et al. 2020
(1904.09751), min-p of Nguyen et al. 2024 (2407.01082), typical of Meister et al. 2022 (2202.00666), epsilon and eta of
Hewitt et al. 2022 (2210.15191), top-n-sigma of Tang et al. 2024 (2411.07641), XTC of p-e-w 2024 (text-generation-webui
#6335), dynamic temperature of kalomaze 2024 (koboldcpp #600, llama.cpp #4972).

Tokens are compared by their distance: how far a logit lies below the best one. A token's margin says how near the
decision to keep it was: the least change, in the decision's own unit, that would have turned it. A float32 sampler may
differ where it is tiny.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.reference_noise import coin, float32, gumbel, noise_words, row_key, threefry
from tests.reference_processors import process

__all__ = ["Distribution", "coin", "distribution", "draw", "gumbel", "noise_words", "row_key", "threefry"]
ORDERS = {
    "hf": ("top_n_sigma", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "xtc"),
    "vllm": ("top_n_sigma", "min_p", "top_k", "top_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "xtc"),
    "llamacpp": ("top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "epsilon_cutoff", "eta_cutoff", "xtc"),
}
COLDEST = 2.0**-126


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
        return [math.exp(logprob) for logprob in self.logprobs]

    @property
    def logprobs(self) -> list[float]:
        return _logprobs(self.distance)

    @property
    def entropy(self) -> float:
        return _entropy(self.logprobs)


def distribution(
    logits: Sequence[float],
    *,
    order: str = "hf",
    temperature: float = 1.0,
    dynamic_temperature: Any = None,
    xtc_probability: float = 0.0,
    xtc_threshold: float = 0.1,
    xtc_coin: float = 0.0,
    **given: Any,
) -> Distribution:
    """Process the logits, temper them and truncate, in the order of the name; nothing is kept of nothing.

    Args:
        logits: of one row; finite or -inf.
        order: `hf`, `vllm` or `llamacpp`.
        temperature: above 0, or 0 for the best token alone.
        dynamic_temperature: anything with `min`, `max` and `exponent`; None for a fixed one.
        xtc_probability: how often XTC acts.
        xtc_threshold: probability from which a token is a top choice.
        xtc_coin: the uniform number of this step; XTC acts if it is below `xtc_probability`.
        given: limits of the other truncations, each off where it is missing, and what `process` takes.
    """
    limits = {rule: given.pop(rule) for rule in RULES if rule in given}
    if xtc_coin < float32(xtc_probability):
        limits["xtc"] = xtc_threshold
    processed = process(logits, **given)
    best = max(processed)
    if best == -math.inf:  # every token is banned
        return Distribution([math.inf] * len(processed), [math.inf] * len(processed))
    distance = [best - logit for logit in processed]
    if order == "llamacpp":
        truncated = _truncate(distance, order, limits)
        return _temper(truncated, temperature, dynamic_temperature)
    tempered = _temper(Distribution(distance, [math.inf] * len(distance)), temperature, dynamic_temperature)
    return tempered if temperature == 0.0 else _truncate(tempered.distance, order, limits)


def draw(among: Distribution, key: tuple[int, int], step: int) -> tuple[int, float]:
    """Draw a token by the Gumbel trick, and say by how much it won."""
    words = noise_words(key, step, len(among.distance))
    scores = [gumbel(word) - d for word, d in zip(words, among.distance, strict=True)]
    first, *others = sorted(scores, reverse=True)
    return scores.index(first), first - others[0] if others else math.inf


def _temper(among: Distribution, temperature: float, dynamic: Any) -> Distribution:
    """Divide what lies between the tokens and the best of those still kept; 0 leaves this one alone."""
    best = min(among.distance)
    if temperature == 0.0:
        first = among.distance.index(best)
        alone = [0.0 if token == first else math.inf for token in range(len(among.distance))]
        return Distribution(alone, [min(m, d - best or m) for m, d in zip(among.margin, among.distance, strict=True)])
    if dynamic is not None:
        count = len(among.kept)
        ratio = among.entropy / math.log(count) if count > 1 else 0.0
        temperature = dynamic.min + (dynamic.max - dynamic.min) * max(ratio, 0.0) ** dynamic.exponent
    return Distribution([(d - best) / max(temperature, COLDEST) for d in among.distance], among.margin)


def _truncate(distance: list[float], order: str, limits: dict[str, float]) -> Distribution:
    margin = [math.inf] * len(distance)
    for rule in ORDERS[order]:
        if limits.get(rule, OFF.get(rule)) == OFF.get(rule):
            continue
        kept, near = RULES[rule](distance, limits[rule])
        assert any(keep and d < math.inf for keep, d in zip(kept, distance, strict=True)), rule
        distance = [d if keep else math.inf for d, keep in zip(distance, kept, strict=True)]
        margin = [min(pair) for pair in zip(margin, near, strict=True)]
    return Distribution(distance, margin)


def _logprobs(distance: Sequence[float]) -> list[float]:
    best = min(distance)
    log_total = math.log(math.fsum(math.exp(best - d) for d in distance))
    return [best - d - log_total for d in distance]


def _entropy(logprobs: Sequence[float]) -> float:
    return -math.fsum(math.exp(logprob) * logprob for logprob in logprobs if logprob > -math.inf)


Decisions = tuple[list[bool], list[float]]


def _within(values: Sequence[float], limit: float) -> Decisions:
    """Keep what is not above the limit; equal to it by the same arithmetic is a tie, and no near miss."""
    return [v <= limit for v in values], [abs(v - limit) / max(1.0, abs(limit)) for v in values]


def _top_n_sigma(distance: list[float], n: float) -> Decisions:
    finite = [d for d in distance if d < math.inf]
    mean = math.fsum(finite) / len(finite)
    sigma = math.sqrt(math.fsum((d - mean) ** 2 for d in finite) / len(finite))
    kept, margin = _within(distance, n * sigma)
    return kept, [near if d > 0.0 else math.inf for near, d in zip(margin, distance, strict=True)]


def _top_k(distance: list[float], k: int) -> Decisions:
    nearest = sorted(d for d in distance if d < math.inf)
    if k >= len(nearest):
        return [True] * len(distance), [math.inf] * len(distance)
    limit, following = nearest[k - 1], nearest[k]
    gap = (following - limit) / max(1.0, limit) or math.inf
    return [d <= limit for d in distance], [gap if d in (limit, following) else math.inf for d in distance]


def _top_p(distance: list[float], p: float) -> Decisions:
    """Keep a token if those nearer than it do not reach p yet; tokens that tie are kept together."""
    nearer = _mass_before(distance, _logprobs(distance))
    return [nearer[d] < p for d in distance], [abs(nearer[d] - p) if d < math.inf else math.inf for d in distance]


def _mass_before(keys: Sequence[float], logprobs: Sequence[float]) -> dict[float, float]:
    """Return for each key the probability of all tokens whose key is lower."""
    before, mass = {math.inf: 1.0}, 0.0
    for key, logprob in sorted(zip(keys, logprobs, strict=True)):
        before.setdefault(key, mass)
        mass += math.exp(logprob)
    return before


def _min_p(distance: list[float], min_p: float) -> Decisions:
    best, limit = min(distance), -math.log(min_p)
    return [d - best <= limit for d in distance], [abs(d - best - limit) or math.inf for d in distance]


def _typical_p(distance: list[float], p: float) -> Decisions:
    """Keep a token if those whose surprise lies nearer the entropy do not reach p yet.

    Two tokens of different probability can be equally typical; rounding then decides, and the margin says so.
    """
    logprobs = _logprobs(distance)
    entropy = _entropy(logprobs)
    shift = [abs(-logprob - entropy) for logprob in logprobs]
    before = _mass_before(shift, logprobs)
    last = max(s for s, d in zip(shift, distance, strict=True) if d < math.inf and before[s] < p)
    ends = {d for s, d in zip(shift, distance, strict=True) if s == last and d < math.inf}
    following = min((s for s in shift if s > last), default=math.inf)

    def margin(s: float, d: float) -> float:
        apart = following - last if ends == {d} else abs(s - last)
        return min(apart / max(1.0, last), abs(before[s] - p)) if d < math.inf else math.inf

    return [before[s] < p for s in shift], [margin(s, d) for s, d in zip(shift, distance, strict=True)]


def _epsilon_cutoff(distance: list[float], epsilon: float) -> Decisions:
    return _at_least(distance, math.log(epsilon))


def _eta_cutoff(distance: list[float], eta: float) -> Decisions:
    entropy = _entropy(_logprobs(distance))
    return _at_least(distance, min(math.log(eta), 0.5 * math.log(eta) - entropy))


def _at_least(distance: list[float], log_limit: float) -> Decisions:
    """Keep tokens of this probability, and the best ones whatever theirs is."""
    best = min(distance)
    logprobs = _logprobs(distance)
    kept = [logprob >= log_limit or d == best for logprob, d in zip(logprobs, distance, strict=True)]
    return kept, [abs(lp - log_limit) if d > best else math.inf for lp, d in zip(logprobs, distance, strict=True)]


def _xtc(distance: list[float], threshold: float) -> Decisions:
    """Remove the top choices, those of the threshold's probability, but for the least probable of them."""
    log_limit = math.log(threshold) if threshold > 0.0 else -math.inf
    logprobs = _logprobs(distance)
    top = [d for d, logprob in zip(distance, logprobs, strict=True) if logprob >= log_limit and d < math.inf]
    last = max(top, default=0.0)
    gap = min(((last - d) / max(1.0, last) for d in top if d < last), default=math.inf)
    near = [
        abs(logprob - log_limit) if d < math.inf else math.inf for logprob, d in zip(logprobs, distance, strict=True)
    ]
    return [d >= last for d in distance], [min(n, gap) if d in top else n for n, d in zip(near, distance, strict=True)]


RULES = {
    "top_n_sigma": _top_n_sigma,
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _min_p,
    "typical_p": _typical_p,
    "epsilon_cutoff": _epsilon_cutoff,
    "eta_cutoff": _eta_cutoff,
    "xtc": _xtc,
}
OFF = {"top_n_sigma": 0, "top_k": 0, "top_p": 1, "min_p": 0, "typical_p": 1, "epsilon_cutoff": 0, "eta_cutoff": 0}
