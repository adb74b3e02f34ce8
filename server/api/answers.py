"""Answers: what was drawn, in the words of the wire."""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from samplers.logprobs import TokenLogprobs
from server.api.completion import Delta
from server.api.generation import Generation
from server.api.sampling import Sampling


def describe_choice(index: int, delta: Delta, generation: Generation) -> dict[str, Any]:
    """Describe a sample, or what a step added to it.

    Args:
        index: of the sample, over all prompts.
        delta: the whole sample (`join`) or a part.
        generation: says how many samples a prompt has, and whether log-probabilities were asked for.
    """
    choice: dict[str, Any] = {
        "index": index,
        "prompt_index": index // generation.n,
        "text": delta.text,
        "token_ids": list(delta.token_ids),
        "finish_reason": delta.finish_reason,
    }
    if generation.params.logprobs is not None:
        choice["logprobs"] = _logprobs(delta.logprobs)
    return choice


def join(deltas: Sequence[Delta]) -> Delta:
    """Join all deltas of a sample, at least one, into the whole."""
    return Delta(
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(chain.from_iterable(delta.token_ids for delta in deltas)),
        logprobs=tuple(chain.from_iterable(delta.logprobs for delta in deltas)),
        finish_reason=deltas[-1].finish_reason,
        measures=tuple(chain.from_iterable(delta.measures for delta in deltas)),
    )


def describe_origin(answer_id: str, generation: Generation) -> dict[str, Any]:
    """Say which model answers, and where it runs."""
    model = generation.model
    return {"id": answer_id, "model": model.name, "framework": model.framework, "device": model.device}


def describe_outcome(num_tokens: int, generation: Generation, sampling: Sampling) -> dict[str, Any]:
    """Sum up a generation that is over.

    Args:
        num_tokens: of all samples.
        generation: has run.
        sampling: its parameters.
    """
    num_prompt_tokens = sum(map(len, generation.prompts))
    timings = [stream.timings for stream in generation.streams]
    noisy = any(stream.reproducible == "noise" for stream in generation.streams)
    return {
        "usage": {
            "prompt_tokens": num_prompt_tokens,
            "completion_tokens": num_tokens,
            "total_tokens": num_prompt_tokens + num_tokens,
        },
        "sampling": {
            "seed": sampling.params.seed,
            "reproducible": "noise" if noisy else "bitwise",
            "order": sampling.resolved["order"],
            "resolved": sampling.resolved,
            "sources": sampling.sources,
        },
        "timings": {
            "queue_s": max(timing.queue_s for timing in timings),
            "prefill_s": max(timing.prefill_s for timing in timings),
            "decode_s": max(timing.decode_s for timing in timings),
        },
    }


def _logprobs(tokens: Iterable[TokenLogprobs]) -> dict[str, Any]:
    tokens = list(tokens)
    return {
        "token_logprobs": [_finite(token.logprob) for token in tokens],
        "top": [_top(token) for token in tokens],
        "entropy": [_finite(token.entropy) for token in tokens],
        "kept": [token.kept for token in tokens],
    }


def _top(token: TokenLogprobs) -> dict[str, Any]:
    """List the most probable tokens; one that cannot be drawn is none of them, and JSON has no -inf to say so."""
    pairs = [pair for pair in zip(token.top_ids, token.top_logprobs, strict=True) if math.isfinite(pair[1])]
    return {"ids": [token_id for token_id, _ in pairs], "logprobs": [logprob for _, logprob in pairs]}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
