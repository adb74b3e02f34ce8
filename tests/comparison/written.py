"""Completions of plain words: a token is a word, and each of its figures is what a test says."""

from server.comparison.completion import Completion
from server.comparison.metrics import LABELS, PRIMARIES
from server.comparison.outcome import Arm, outcome_of
from server.comparison.part import part_of
from server.comparison.sampling import Written
from server.comparison.terms import Terms
from server.comparison.units import Units

END = -1
VOCABULARY: list[str] = []
FIGURES = {"surprise": 2.0, "logprob": -1.0, "entropy": 1.5, "kl": 0.25, "kept": 9, "kept_mass": 0.9, "top_mass": 0.5}


def token(word):
    if word not in VOCABULARY:
        VOCABULARY.append(word)
    return VOCABULARY.index(word)


def decode(token_ids):
    return " ".join(VOCABULARY[token_id] for token_id in token_ids)


TOKENS = Units(frozenset({END}), decode)


def says(text, sample=0, arm="cold", prompt=0, ended=False, **figures):
    """Write a completion; a figure is one for all its tokens, or a list of one for each."""
    words = text.split()
    token_ids = (*map(token, words), *[END] * ended)
    given = {name: value if isinstance(value, list) else [value] * len(token_ids) for name, value in figures.items()}
    usual = {name: [value] * len(token_ids) for name, value in FIGURES.items()}
    return Completion(
        arm=arm, prompt_index=prompt, sample_index=sample, text=" ".join(words), token_ids=token_ids,
        finish_reason="stop" if ended else "length",
        **{name: tuple(value) for name, value in {**usual, **given}.items()},
    )  # fmt: skip


def all_say(*texts, **options):
    return [says(text, sample, **options) for sample, text in enumerate(texts)]


def compared(*prompts, units=TOKENS, **changed):
    """Judge comparisons of arms cold and hot: for each prompt, the texts (or completions) of each arm by name."""
    names = tuple(dict.fromkeys(name for prompt in prompts for name in prompt))
    attempted = max(len(own) for prompt in prompts for own in prompt.values())
    parts = []
    for number, prompt in enumerate(prompts):
        drawn, lost = [], {}
        for name in names:
            own = [
                says(text, sample, name, number) if isinstance(text, str) else text
                for sample, text in enumerate(prompt[name])
                if text is not None
            ]
            drawn += own
            if len(own) < attempted:
                lost[name] = attempted - len(own)
        written = Written(drawn, lost, dict.fromkeys(lost, "the model failed"))
        parts.append(part_of(number, written, names, dict.fromkeys(names, units)))
    settled = {"baseline": names[0], "arms": names, "prompts": len(prompts), "primaries": PRIMARIES, "labels": LABELS}
    arms = {name: Arm("toy", "torch", {}, units) for name in names}
    return outcome_of(parts, Terms(**{**settled, **changed}), arms)


def contrast(outcome, metric, arm="hot"):
    (found,) = [own for own in outcome.comparisons if (own.arm, own.metric) == (arm, metric)]
    return found
