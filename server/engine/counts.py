"""Counts: what an engine has done since it started; plain numbers, for whoever looks."""

from dataclasses import dataclass


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
    """

    prompt_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    prefix_prompts: int = 0
    not_finite: int = 0
