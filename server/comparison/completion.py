"""Completion: one text that an arm wrote for a prompt, with what the model thought of each of its tokens."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample of one arm for one prompt.

    The figures of a token are tuples as long as `token_ids`. p is the model's own distribution, untempered and
    untruncated; q is the one that the token was drawn from.

    Attributes:
        arm: name of the arm.
        prompt_index: from 0.
        sample_index: from 0; under common random numbers, equal indices share their noise across arms.
        text: the tokens as text.
        token_ids: as drawn, without the prompt; the end-of-sequence token, where one was drawn, is the last.
        finish_reason: `stop`, `length`, `timeout` or `cancelled`.
        surprise: -ln p(token), in nats.
        logprob: ln q(token), in nats.
        entropy: of q, in nats.
        kl: KL(q‖p), in nats, ≥ 0.
        kept: how many tokens q gives any probability.
        kept_mass: probability, under the tempered distribution, of the tokens that truncation left, in (0, 1].
        top_mass: probability of the most probable token under q.
    """

    arm: str
    prompt_index: int
    sample_index: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    surprise: tuple[float, ...]
    logprob: tuple[float, ...]
    entropy: tuple[float, ...]
    kl: tuple[float, ...]
    kept: tuple[int, ...]
    kept_mass: tuple[float, ...]
    top_mass: tuple[float, ...]
