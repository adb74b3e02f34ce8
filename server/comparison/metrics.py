"""Metrics of a comparison: what each arm's completions of a prompt amount to, as docs/comparisons.md defines them."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median, median_low
from typing import Literal, NamedTuple

from samplers.clusters import near_duplicates, sizes
from samplers.diversity import compression_ratio, pairwise_distance, similarity, vendi
from samplers.ngrams import distinct
from samplers.rarefaction import rarefied, simpson
from samplers.repetition import loop, repetition
from samplers.self_bleu import self_bleu
from server.comparison.completion import Completion
from server.comparison.result import Metric
from server.comparison.terms import Label
from server.comparison.units import Units

SHORTEST_BUDGET = 16  # units; n-grams of shorter texts say little
DRAWS = 10  # of `distinct_k`
_BLEU_ORDER = 4


@dataclass(frozen=True, slots=True)
class Description:
    """What a metric is.

    Attributes:
        label: how it is spoken of.
        direction: `up` where more of it is more diversity, `down` where less of it is, else `context`.
        primary: whether a verdict is about it.
        budgeted: whether it looks at the first tokens of each completion alone, because it depends on length.
    """

    label: Label
    direction: Literal["up", "down", "context"] = "context"
    primary: bool = False
    budgeted: bool = False


METRICS: dict[Metric, Description] = {
    "pairwise_distance": Description(
        Label("distance", greater="is more diverse", lesser="is less diverse"), "up", primary=True, budgeted=True
    ),
    "distinct_1": Description(Label("distinct-1"), "up", budgeted=True),
    "distinct_2": Description(Label("distinct-2"), "up", budgeted=True),
    "distinct_3": Description(Label("distinct-3"), "up", budgeted=True),
    "self_bleu": Description(Label("Self-BLEU"), "down", budgeted=True),
    "vendi": Description(Label("Vendi score", "texts"), "up", budgeted=True),
    "distinct_k": Description(Label("number of distinct answers", "answers"), "up"),
    "compression_ratio": Description(Label("compression ratio"), "down", budgeted=True),
    "sequence_entropy": Description(Label("sequence entropy", "nats"), "up"),
    "surprise": Description(
        Label("surprise", "nats", greater="is more surprising", lesser="is less surprising"), primary=True
    ),
    "kl": Description(Label("divergence from the model", "nats")),
    "seq_rep_4": Description(
        Label("repetition", greater="repeats itself more", lesser="repeats itself less"), "down", budgeted=True
    ),
    "mean_length": Description(Label("mean length", "tokens", greater="writes more", lesser="writes less")),
    "simpson": Description(Label("odds that two answers differ"), "up"),
    "entropy": Description(Label("entropy per token", "nats"), "up"),
    "top_mass": Description(Label("mass of the best token")),
    "kept": Description(Label("median number of kept tokens", "tokens")),
    "kept_mass": Description(Label("kept mass")),
    "loops": Description(
        Label("share of loops", greater="ends in loops more often", lesser="ends in loops less often"), "down"
    ),
    "stopped": Description(
        Label("share that ended", greater="comes to an end more often", lesser="comes to an end less often")
    ),
}
LABELS = {metric: description.label for metric, description in METRICS.items()}
PRIMARIES = tuple(metric for metric, description in METRICS.items() if description.primary)


class Measured(NamedTuple):
    """One arm's metrics for one prompt, None where nothing can be said, and how many completions fared otherwise."""

    metrics: dict[Metric, float | None]
    dropped: int  # shorter than the budget
    empty: int  # without a unit


class Curves(NamedTuple):
    """What of an arm is a curve or a histogram, over all its prompts."""

    lengths: list[int]
    entropy_by_position: list[float]
    rarefaction: list[float]


def token_budget(lengths: Sequence[int]) -> int | None:
    """Return how many units of each completion of a prompt the budgeted metrics look at, in all arms alike.

    It is the 25th percentile, so that at most a quarter is dropped, or 16 if that is more.

    Args:
        lengths: in units, of all completions of the prompt, of every arm.

    Returns:
        None where half of them or more are shorter than 16: such a prompt asks for short answers, which are compared
        whole, and none is dropped.
    """
    if not lengths or median_low(lengths) < SHORTEST_BUDGET:
        return None
    return max(SHORTEST_BUDGET, sorted(lengths)[len(lengths) // 4])


def measure(completions: Iterable[Completion], budget: int | None, units: Units) -> Measured:
    """Measure what one arm wrote for one prompt.

    Args:
        completions: in any order, any number; those of other arms and prompts must not be among them.
        budget: of `token_budget`; budgeted metrics leave out shorter completions, which are counted.
        units: of the arm.
    """
    ordered = sorted(completions, key=lambda completion: completion.sample_index)
    whole = [units.of(completion) for completion in ordered]
    cut = [own[:budget] for own in whole if budget is None or len(own) >= budget]
    found = {
        **_diversity(cut),
        "compression_ratio": compression_ratio([units.text(own) for own in cut]),
        **_answers(ordered),
        **_tokens(ordered),
        "mean_length": _mean([len(own) for own in whole]),
        "loops": _mean([loop(own) is not None for own in whole]),
        "stopped": _mean([units.ended(completion) for completion in ordered]),
    }
    return Measured({metric: found[metric] for metric in METRICS}, len(whole) - len(cut), whole.count(()))


def curves(completions: Iterable[Completion], units: Units) -> Curves:
    """Return an arm's lengths in units, its entropy by position, and its rarefaction.

    The entropy, in nats, ends where fewer than half of the completions go on: beyond, it would be that of the long
    ones alone. The rarefaction is the mean over prompts, of near-duplicates, up to the fewest samples of any.

    Args:
        completions: of one arm, of all its prompts, any number.
        units: of the arm.
    """
    ordered = sorted(completions, key=lambda completion: (completion.prompt_index, completion.sample_index))
    texts: dict[int, list[str]] = {}
    for completion in ordered:
        texts.setdefault(completion.prompt_index, []).append(completion.text)
    rarefactions = [rarefied(sizes(near_duplicates(own))) for own in texts.values()]
    return Curves(
        lengths=[len(units.of(completion)) for completion in ordered],
        entropy_by_position=_by_position([completion.entropy for completion in ordered]),
        rarefaction=[math.fsum(values) / len(values) for values in zip(*rarefactions, strict=False)],
    )


def _diversity(cut: Sequence[Sequence[Hashable]]) -> dict[Metric, float | None]:
    kernel = similarity(cut)
    long_enough = min(map(len, cut), default=0) >= _BLEU_ORDER  # equal texts that are shorter would look diverse
    return {
        "pairwise_distance": pairwise_distance(kernel),
        "distinct_1": distinct(cut, 1),
        "distinct_2": distinct(cut, 2),
        "distinct_3": distinct(cut, 3),
        "self_bleu": self_bleu(cut, _BLEU_ORDER) if long_enough else None,
        "vendi": vendi(kernel),
        "seq_rep_4": _mean([repetition(own, 4) for own in cut]),
    }


def _answers(completions: Sequence[Completion]) -> dict[Metric, float | None]:
    found = sizes(near_duplicates([completion.text for completion in completions]))
    expected = rarefied(found)
    return {"distinct_k": expected[:DRAWS][-1] if expected else None, "simpson": simpson(found)}


def _tokens(completions: Sequence[Completion]) -> dict[Metric, float | None]:
    """Average over tokens, the end-of-sequence token among them, whichever completion they are of."""
    figures = ("surprise", "kl", "entropy", "top_mass", "kept_mass")
    means = {name: _mean(_over_tokens(completions, name)) for name in figures}
    kept = _over_tokens(completions, "kept")
    return {
        **means,
        "sequence_entropy": _mean([math.fsum(completion.entropy) for completion in completions]),
        "kept": float(median(kept)) if kept else None,
    }


def _over_tokens(completions: Iterable[Completion], figure: str) -> list[float]:
    return [*chain.from_iterable(getattr(completion, figure) for completion in completions)]


def _by_position(entropies: Sequence[Sequence[float]]) -> list[float]:
    longest_first = sorted(map(len, entropies), reverse=True)
    reached = longest_first[(len(longest_first) - 1) // 2] if longest_first else 0  # by at least half
    columns = ([own[place] for own in entropies if place < len(own)] for place in range(reached))
    return [math.fsum(column) / len(column) for column in columns]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
