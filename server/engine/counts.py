"""Counts: what an engine has done since it started; plain numbers, for whoever looks."""

from dataclasses import dataclass, field

from server.histogram import Histogram

_NATS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 20_000, 50_000, 100_000)


@dataclass(slots=True)
class Counts:
    """Written by the engine's thread alone; a reader may see one number a step before another.

    Attributes:
        prompt_tokens: of requests that were taken; a prompt counts once however many samples it has.
        generated_tokens: drawn, of all samples.
        steps: decode steps.
        prefix_queries: tokens of the prompts whose beginnings were looked for in other slots.
        prefix_hits: tokens of them that were found, and not computed.
        prefix_prompts: prompts of which any were found.
        not_finite: requests that failed because the model's logits were not finite.
        entropy: of the distributions that tokens were drawn from, in nats, at their temperature; of some of the draws.
        kept: how many tokens could have been drawn, of the same draws.
    """

    prompt_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    prefix_prompts: int = 0
    not_finite: int = 0
    entropy: Histogram = field(default_factory=lambda: Histogram(_NATS))
    kept: Histogram = field(default_factory=lambda: Histogram(_TOKENS))
