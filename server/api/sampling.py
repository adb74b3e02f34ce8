"""Sampling: what a request asked for, what it left open, and what was made of both."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from samplers.checks import SamplingParamsError
from samplers.params import DynamicTemperature, SamplingParams
from server.api.schemas.sampling import SamplingFields
from server.errors import InvalidRequestError

SEED_BITS = 53  # survives JSON readers that keep every number as a double


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling parameters of a request.

    Attributes:
        params: what the engine takes.
        timeout_s: time limit of the samples.
        resolved: every sampling field of the request, by its name on the wire, with the value in force.
        sources: for each of them `request`, `default`, or `drawn` for a seed that was drawn.
    """

    params: SamplingParams
    timeout_s: float
    resolved: dict[str, Any]
    sources: dict[str, str]


def resolve_sampling(
    body: SamplingFields, *, vocab_size: int, max_timeout_s: float, bad_words: Sequence[tuple[int, ...]] = ()
) -> Sampling:
    """Settle every sampling parameter of a request.

    Args:
        body: the request.
        vocab_size: width of the model's logits.
        bad_words: the body's, in tokens (see `encode_bad_words`).
        max_timeout_s: the longest time limit allowed, and the one of a request that names none.

    Raises:
        InvalidRequestError: a value is out of its range, or a token id is none of the model's.
    """
    resolved = body.model_dump(include=set(SamplingFields.model_fields))
    sources = {name: "request" if name in body.model_fields_set else "default" for name in resolved}
    if body.seed is None:
        resolved["seed"], sources["seed"] = secrets.randbits(SEED_BITS), "drawn"
    if body.timeout_s is None:
        resolved["timeout_s"], sources["timeout_s"] = max_timeout_s, "default"
    if resolved["timeout_s"] > max_timeout_s:
        raise InvalidRequestError(
            f"timeout_s must be at most {max_timeout_s:g}, the server's max_timeout_s", param="timeout_s"
        )
    return Sampling(_params(resolved, tuple(bad_words), vocab_size), resolved["timeout_s"], resolved, sources)


def _params(resolved: dict[str, Any], bad_words: tuple[tuple[int, ...], ...], vocab_size: int) -> SamplingParams:
    values = {field.name: resolved[field.name] for field in fields(SamplingParams) if field.name in resolved}
    values["bad_words"] = bad_words
    values["logit_bias"] = {int(token_id): bias for token_id, bias in resolved["logit_bias"].items()}
    values["stop_token_ids"] = tuple(resolved["stop_token_ids"])
    if resolved["allowed_token_ids"] is not None:
        values["allowed_token_ids"] = tuple(resolved["allowed_token_ids"])
    try:
        if resolved["dynamic_temperature"] is not None:
            values["dynamic_temperature"] = DynamicTemperature(**resolved["dynamic_temperature"])
        params = SamplingParams(**values)
        params.require_token_ids_below(vocab_size)
    except SamplingParamsError as error:
        raise InvalidRequestError(str(error), param=error.param) from None
    return params
