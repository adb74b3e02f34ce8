"""Integrity: what stands between a comparison's numbers and their plain reading."""

from collections.abc import Iterator, Sequence

from server.comparison.result import ArmResult, Contrast
from server.comparison.terms import Terms

LENGTHS_APART = 1.1  # arms whose mean lengths have a quotient above this may differ by length alone


def warnings(contrasts: Sequence[Contrast], arms: Sequence[ArmResult], terms: Terms) -> list[str]:
    """Say what a reader must know before any mean; nothing where nothing is the matter.

    Args:
        contrasts: all of them.
        arms: all of them.
        terms: what was settled beforehand.
    """
    results = {arm.name: arm for arm in arms}
    baseline = results[terms.baseline]
    said = [line for arm in arms for line in _shortcomings(arm)] + _dropped(arms)
    for arm in (results[name] for name in terms.others):
        if arm.counts.completed and baseline.counts.completed:
            own = [contrast for contrast in contrasts if contrast.arm == arm.name]
            said += [line for line in (incomparable(arm, baseline), _lengths_apart(arm, baseline)) if line]
            said += _left_out(own, terms)
    return said


def incomparable(arm: ArmResult, baseline: ArmResult) -> str:
    """Say that arms lost unlike shares of their samples: what is left of either may be a choice of the easy ones."""
    ours, theirs = arm.counts, baseline.counts
    if not ours.completed or ours.completed * theirs.attempted == theirs.completed * ours.attempted:
        return ""
    survivors = f"{ours.completed:,} of {ours.attempted:,} samples completed against {theirs.completed:,} of"
    return f"{arm.name} and {baseline.name} are not comparable ({survivors} {theirs.attempted:,})"


def _shortcomings(arm: ArmResult) -> Iterator[str]:
    counts = arm.counts
    if not counts.completed:
        yield f"{arm.name} gave no completion" + (f": {arm.error}" if arm.error else "")
        return
    if counts.empty:
        yield f"{arm.name}: {counts.empty:,} of {counts.completed:,} completions are empty"


def _dropped(arms: Sequence[ArmResult]) -> list[str]:
    shares = [f"{arm.counts.dropped:,} of {arm.counts.completed:,} of {arm.name}" for arm in arms if arm.counts.dropped]
    if not shares:
        return []
    return [
        "metrics that depend on length leave out completions that are shorter than the common token budget: "
        + ", ".join(shares)
    ]


def _lengths_apart(arm: ArmResult, baseline: ArmResult) -> str:
    ours, theirs = (sum(each.lengths) / max(1, len(each.lengths)) for each in (arm, baseline))
    if max(ours, theirs) <= LENGTHS_APART * min(ours, theirs):
        return ""
    return (
        f"mean lengths of {arm.name} and {baseline.name} differ by more than 10 % ({ours:.1f} against {theirs:.1f} "
        "tokens), which may explain differences in metrics that depend on length"
    )


def _left_out(contrasts: Sequence[Contrast], terms: Terms) -> Iterator[str]:
    for prompts in sorted({contrast.prompts for contrast in contrasts} - {terms.prompts}):
        names = [terms.labels[contrast.metric].name for contrast in contrasts if contrast.prompts == prompts]
        where = "every metric" if len(names) == len(contrasts) else ", ".join(names)
        yield (
            f"{contrasts[0].arm} against {terms.baseline}: {terms.prompts - prompts:,} of {terms.prompts:,} prompts "
            f"left out, for want of a value of both, in {where}"
        )
