"""Verdict: a comparison's outcome in plain words, with its numbers, and never more than they bear.

That no difference was shown is not equality, which only a test against a margin shows. What one prompt shows holds for
that prompt.
"""

import math
from collections.abc import Sequence
from typing import Literal

from samplers.permutation import fewest_pairs
from samplers.power import prompts_needed
from server.comparison.integrity import incomparable
from server.comparison.result import ArmResult, Contrast
from server.comparison.terms import LEAST_PROMPTS, Terms

Outcome = Literal["untested", "too few", "different", "negligible", "equivalent", "undecided"]


def verdict(contrast: Contrast, terms: Terms) -> str:
    """Say what one contrast shows.

    Args:
        contrast: adjusted; its own verdict is not looked at.
        terms: what was settled beforehand.
    """
    return _sentence(_claim(contrast, terms), [_figures(contrast, terms)], contrast, terms)


def summary(contrasts: Sequence[Contrast], arms: Sequence[ArmResult], terms: Terms) -> list[str]:
    """Say what a comparison shows: a sentence for each arm but the baseline, about the primary metrics.

    Args:
        contrasts: all of them.
        arms: all of them; one whose survivors are not as many as the baseline's is said not to be comparable.
        terms: what was settled beforehand.
    """
    results = {arm.name: arm for arm in arms}
    sentences = []
    for arm in terms.others:
        own = {contrast.metric: contrast for contrast in contrasts if contrast.arm == arm}
        lead, *further = [own[metric] for metric in terms.primaries]
        claim = incomparable(results[arm], results[terms.baseline]) or _claim(lead, terms)
        figures = [_figures(lead, terms), *(_beside(contrast, terms) for contrast in further)]
        sentences.append(_sentence(claim, figures, lead, terms))
    return sentences


def _outcome(contrast: Contrast, terms: Terms) -> Outcome:
    if contrast.p_adjusted is None:
        return "untested"
    if 1 < contrast.prompts < LEAST_PROMPTS:
        return "too few"
    if contrast.p_adjusted <= terms.alpha:
        return "negligible" if contrast.equivalent else "different"
    if contrast.equivalent:
        return "equivalent"
    return "too few" if contrast.prompts > 1 and _lacking(contrast, terms) else "undecided"


def _claim(contrast: Contrast, terms: Terms) -> str:
    arm, baseline, label = contrast.arm, contrast.baseline, terms.labels[contrast.metric]
    outcome, margin = _outcome(contrast, terms), _margin(contrast, terms)
    if outcome == "untested":
        return _untested(contrast, terms)
    if outcome == "too few":
        return f"too few prompts for a verdict: add at least {_more(contrast, terms)}"
    where = " on this prompt" if terms.prompts == 1 else ""
    comparative = f"{arm} {label.comparative(contrast.difference or 0.0)} than {baseline}{where}"
    if arm in terms.replicas:
        floor = f"noise floor: {arm} is {baseline} with other seeds"
        if outcome in ("different", "negligible"):
            return f"{floor}, and yet {comparative}, a false alarm such as {100 * terms.alpha:g} % of comparisons give"
        return f"{floor}, and differences of {label.name} up to {_reach(contrast)}{where} are noise"
    return {
        "different": comparative,
        "negligible": f"{comparative}, but by less than the margin of {margin}",
        "equivalent": f"{arm} is equivalent to {baseline} within ±{margin}",
        "undecided": f"no difference shown between {arm} and {baseline}{where}",
    }[outcome]


def _untested(contrast: Contrast, terms: Terms) -> str:
    name = terms.labels[contrast.metric].name
    if contrast.prompts == 0:
        return f"nothing to compare: no prompt has a {name} of both {contrast.arm} and {contrast.baseline}"
    if terms.prompts == 1:
        return f"no verdict on {name} from one prompt whose samples were not tested"
    return f"too few prompts for a verdict: add at least {_more(contrast, terms)}"


def _lacking(contrast: Contrast, terms: Terms) -> int:
    """Return how many prompts are wanting before any difference, however clear, could count."""
    return max(0, max(LEAST_PROMPTS, fewest_pairs(terms.level(contrast.metric))) - contrast.prompts)


def _more(contrast: Contrast, terms: Terms) -> str:
    """Return how many prompts to add, going by the effect seen where there is one."""
    least = _lacking(contrast, terms)
    if contrast.prompts < 2 or contrast.effect_size is None:
        return f"{least} more"
    needed = prompts_needed(contrast.effect_size, terms.level(contrast.metric))
    if needed is None:
        return f"{least} more, and a million would not do for an effect as small as the one seen"
    more = max(least, needed - contrast.prompts)
    return f"{more:,} more" + (f" for an effect like the one seen (d_z = {contrast.effect_size:.2g})" * (more > least))


def _sentence(claim: str, figures: Sequence[str], contrast: Contrast, terms: Terms) -> str:
    """Join what is claimed, its figures and what they rest on."""
    known = [figure for figure in figures if figure]
    parts = [f"{claim}: {', '.join(known)}" if known else claim]
    if contrast.prompts:
        parts.append(_basis(contrast, terms))
    if _outcome(contrast, terms) == "undecided" and contrast.arm not in terms.replicas:
        parts.append("that is not equality" + _within_reach(contrast))
    return "; ".join(parts)


def _within_reach(contrast: Contrast) -> str:
    if not contrast.minimum_detectable:
        return ""
    return f": a difference of {contrast.minimum_detectable:.2g} would be found four times in five"


def _figures(contrast: Contrast, terms: Terms) -> str:
    label = terms.labels[contrast.metric]
    if contrast.difference is None:
        return ""
    unit = f" {label.unit}" if label.unit else ""
    return f"{label.name} {_signed(contrast)}{unit}{_interval(contrast)}{_odds(contrast)}"


def _beside(contrast: Contrast, terms: Terms) -> str:
    """Say a further primary's figures, after `at`."""
    label = terms.labels[contrast.metric]
    if contrast.difference is None:
        return ""
    amount = f"{_signed(contrast)} {label.unit} of {label.name}" if label.unit else f"{label.name} {_signed(contrast)}"
    remark = {
        "negligible": f", less than the margin of {_margin(contrast, terms)}",
        "equivalent": f", equivalent within ±{_margin(contrast, terms)}",
        "undecided": ", no difference shown",
    }.get(_outcome(contrast, terms), "")
    return f"at {amount}{_interval(contrast)}{_odds(contrast)}{remark}"


def _margin(contrast: Contrast, terms: Terms) -> str:
    return f"{terms.margins.get(contrast.metric, 0.0):g}"


def _signed(contrast: Contrast) -> str:
    return f"{contrast.difference:+{_places(contrast)}}"


def _interval(contrast: Contrast) -> str:
    if contrast.ci_low is None or contrast.ci_high is None:
        return ""
    places = _places(contrast)
    return f" [{contrast.ci_low:{places}}, {contrast.ci_high:{places}}]"


def _reach(contrast: Contrast) -> str:
    ends = [end for end in (contrast.difference, contrast.ci_low, contrast.ci_high) if end is not None]
    return f"±{max(abs(end) for end in ends):{_places(contrast)}}"


def _places(contrast: Contrast) -> str:
    """Return the format that shows two digits of the interval's width, or of the difference where it has none."""
    width = (contrast.ci_high or 0.0) - (contrast.ci_low or 0.0) or abs(contrast.difference or 0.0)
    if 0 < width < 1e-6:
        return "z.2g"
    return f"z.{max(0, 1 - math.floor(math.log10(width))) if width else 0}f"


def _odds(contrast: Contrast) -> str:
    adjustment = {"holm": "Holm", "bh": "Benjamini-Hochberg, exploratory"}[contrast.adjustment]
    difference = "" if contrast.p_adjusted is None else f", {_p(contrast.p_adjusted)} ({adjustment})"
    if not contrast.equivalent or contrast.equivalence_p is None:
        return difference
    return f"{difference}, {_p(contrast.equivalence_p)} (equivalence)"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _basis(contrast: Contrast, terms: Terms) -> str:
    if terms.prompts == 1:
        return "one prompt, of which alone this holds"
    tallies = [(contrast.wins, "win", "wins"), (contrast.ties, "tie", "ties"), (contrast.losses, "loss", "losses")]
    counted = [_count(number, *names) for number, *names in tallies if number]
    basis = ", ".join([_count(contrast.prompts, "prompt", "prompts"), *counted])
    left_out = terms.prompts - contrast.prompts
    return f"{basis}; {left_out:,} left out" if left_out else basis


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
