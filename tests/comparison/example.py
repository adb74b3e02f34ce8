"""A comparison made up of completions, for what is drawn of it."""

import random

from server.comparison.completion import Completion
from server.comparison.metrics import LABELS, PRIMARIES
from server.comparison.outcome import Arm
from server.comparison.part import Part, part_of
from server.comparison.plan import Plan, PlannedArm
from server.comparison.preparation import Preparation
from server.comparison.result import Report
from server.comparison.running import report_of
from server.comparison.sampling import Written
from server.comparison.terms import Terms
from server.comparison.units import Units

WORDS = ("time way year work water house light sound stone river night story road tree hill").split()  # noqa: SIM905


def completion(arm, prompt, sample, temperature):
    """Write words that vary with the temperature, the same for all arms up to some place."""
    noise = random.Random(f"{prompt} {sample}")
    chosen = [noise.random() for _ in range(24)]
    words = [WORDS[int(own ** (1 / temperature) * len(WORDS))] for own in chosen]
    figures = tuple(0.5 + temperature * own for own in chosen)
    return Completion(
        arm=arm, prompt_index=prompt, sample_index=sample, text="".join(f" {word}" for word in words),
        token_ids=tuple(map(WORDS.index, words)), finish_reason="length", surprise=figures,
        logprob=tuple(-own for own in figures), entropy=figures, kl=figures, kept=(9,) * 24, kept_mass=(1.0,) * 24,
        top_mass=(0.5,) * 24,
    )  # fmt: skip


def example(prompts=6, samples=3, temperatures=(("cold", 0.5), ("hot", 1.5)), change=lambda own: own, failed=()):
    """Return a report and its completions; `change` may alter a completion, and arms may have failed."""
    names = tuple(name for name, _ in temperatures)
    units = {name: Units(frozenset(), lambda ids: " ".join(WORDS[own] for own in ids)) for name in names}
    arms = {name: Arm("toy", "torch", {"temperature": t, "top_p": 1.0}, units[name]) for name, t in temperatures}
    parts: list[Part] = []
    for prompt in range(prompts):
        drawn = [
            change(completion(name, prompt, sample, temperature))
            for name, temperature in temperatures
            if name not in failed
            for sample in range(samples)
        ]
        lost = dict.fromkeys(failed, samples)
        written = Written(drawn, lost, dict.fromkeys(failed, "the model failed"))
        parts.append(part_of(prompt, written, names, units))
    plan = Plan(
        prompts=[f"prompt {number} <b>&" for number in range(prompts)],
        arms=[
            PlannedArm(name=name, model="toy", prompt_template=None, seed=1, replica=False, given={}) for name in names
        ],
        baseline=names[0], samples_per_prompt=samples, max_tokens=24, seed=1, common_random_numbers=True,
        equivalence_margins={},
    )  # fmt: skip
    terms = Terms(baseline=names[0], arms=names, prompts=prompts, primaries=PRIMARIES, labels=LABELS)
    report: Report = report_of(plan, Preparation([], arms, terms), parts)
    return report, [own for part in parts for own in part.completions]
