"""What happens to logits before temperature, slowly: one row, float64, each rule by its definition.

Nothing of `samplers/` is used here. The repetition penalty is that of Keskar et al. 2019 (arXiv:1909.05858) with the
sign heeded as transformers does, presence and frequency are OpenAI's, n-gram blocking is that of Paulus et al. 2017
(1705.04304), DRY that of p-e-w 2024 (text-generation-webui #5677). Repetitions are searched for from scratch.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

LARGEST = 3.4028234663852886e38  # of float32


def process(
    logits: Sequence[float],
    *,
    prompt: Sequence[int] = (),
    generated: Sequence[int] = (),
    banned: Collection[int] = (),
    logit_bias: Mapping[int, float] | None = None,
    allowed_token_ids: Collection[int] | None = None,
    bad_words: Collection[Sequence[int]] = (),
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    no_repeat_ngram_size: int = 0,
    dry_multiplier: float = 0.0,
    dry_base: float = 1.75,
    dry_allowed_length: int = 2,
) -> list[float]:
    """Apply the rules in the order of the arguments.

    Args:
        logits: of one row; finite or -inf.
        prompt: what was read.
        generated: what was written.
        banned: tokens that may not be drawn: those that would end a row before its minimum.
        logit_bias: added to which token's logit.
        allowed_token_ids: the only ones that may be drawn; None: all.
        bad_words: sequences that may not be completed.
        repetition_penalty: divides positive logits of the history's tokens, multiplies the others.
        presence_penalty: subtracted once for a generated token.
        frequency_penalty: subtracted as often as a token was generated.
        no_repeat_ngram_size: length of the sequences that may not come twice; 0 for none.
        dry_multiplier: of the penalty on prolonging a repetition; 0 for none.
        dry_base: what the penalty is multiplied by for each token more.
        dry_allowed_length: of repetitions that cost nothing or the multiplier alone.
    """
    history = [*prompt, *generated]
    processed = [float(logit) + (logit_bias or {}).get(token, 0.0) for token, logit in enumerate(logits)]
    allowed = set(range(len(processed)) if allowed_token_ids is None else allowed_token_ids)
    completing = {word[-1] for word in bad_words if ends_with(history, word[:-1])}
    for token in (set(range(len(processed))) - allowed) | completing | set(banned):
        processed[token] = -math.inf
    for token in set(history):
        logit = processed[token]
        processed[token] = logit / repetition_penalty if logit > 0.0 else logit * repetition_penalty
    for token, count in Counter(generated).items():
        processed[token] -= frequency_penalty * count + presence_penalty
    for token in closing_ngrams(history, no_repeat_ngram_size):
        processed[token] = -math.inf
    for token, penalty in dry_penalties(history, dry_multiplier, dry_base, dry_allowed_length).items():
        processed[token] -= penalty
    return processed


def ends_with(history: Sequence[int], suffix: Sequence[int]) -> bool:
    """Say whether the last tokens are these; no tokens always are."""
    return len(suffix) <= len(history) and list(history[len(history) - len(suffix) :]) == list(suffix)


def closing_ngrams(history: Sequence[int], n: int) -> set[int]:
    """Return the tokens after which some n tokens would stand in the history twice."""
    if n == 0:
        return set()
    ngrams = {tuple(history[i : i + n]) for i in range(len(history) - n + 1)}
    return {ngram[-1] for ngram in ngrams if ends_with(history, ngram[:-1])}


def common_suffix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many of the last tokens of two sequences are the same."""
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return length


def dry_penalties(history: Sequence[int], multiplier: float, base: float, allowed_length: int) -> dict[int, float]:
    """Return what each token costs that would prolong a repetition; at most the largest number of float32."""
    penalties: dict[int, float] = {}
    for i, token in enumerate(history if multiplier > 0.0 else ()):
        length = common_suffix(history[:i], history)
        if length >= max(allowed_length, 1):
            penalties[token] = max(penalties.get(token, 0.0), _power(multiplier, base, length - allowed_length))
    return penalties


def _power(multiplier: float, base: float, exponent: int) -> float:
    logarithm = math.log(multiplier) + exponent * math.log(base)
    return LARGEST if logarithm >= math.log(LARGEST) else multiplier * base**exponent
