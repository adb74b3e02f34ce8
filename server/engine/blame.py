"""Blame: whose failure it is when the backend raises or draws nothing, so that nobody else's request ends with it."""

import logging
import math
from collections.abc import Sequence

from server.backends.base import Backend
from server.engine.request import Sample
from server.errors import InvalidRequestError, KelvinError, NumericalError, OutOfMemoryError

log = logging.getLogger(__name__)

_NAMES = {"MemoryError", "OutOfMemoryError", "ResourceExhaustedError"}  # Python's, torch's and TensorFlow's
_RULES = ("allowed_token_ids", "bad_words", "no_repeat_ngram_size")  # which can forbid every token
_WORDS = "can't allocate memory"  # torch has no class of its own for the memory of the host


def ran_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory was short; frameworks are known by their errors' names alone."""
    return any(kind.__name__ in _NAMES for kind in type(error).__mro__) or _WORDS in str(error)


def in_words(error: Exception) -> KelvinError:
    """Turn what a backend raised into what its requests are told."""
    if ran_out_of_memory(error):
        return OutOfMemoryError(
            "there was no memory left for this request, the newest of those that ran; try again in a moment, or with "
            "a shorter prompt"
        )
    return KelvinError(f"the model failed on this request: {type(error).__name__}")


def newest(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of the request that came last, of samples, at least one."""
    last = max(samples, key=lambda sample: sample.request.submitted_s).request
    return [sample for sample in samples if sample.request is last]


def halves(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """Part samples, at least two, in two."""
    middle = len(samples) // 2
    return [samples[:middle], samples[middle:]]


def nothing_drawn(backend: Backend, sample: Sample) -> KelvinError:
    """Say why a sample's row had no token to draw: its request's rules left none, or the model's numbers went wrong."""
    rules = [name for name in _RULES if getattr(sample.request.params, name)]
    if rules and sample.slot is not None and _is_sane(backend, sample.slot):
        return InvalidRequestError(
            f"{rules[0]} leaves no token to draw, alone or with bad_words, no_repeat_ngram_size and min_tokens; "
            "loosen one of them",
            param=rules[0],
        )
    return NumericalError("the model's logits were not finite for this request; its numbers cannot be trusted")


def _is_sane(backend: Backend, slot: int) -> bool:
    """Tell whether the model's own logits are numbers."""
    try:
        return all(map(math.isfinite, backend.logits(slot)))
    except Exception:
        log.exception("the logits of a row that had no token to draw could not be read")
        return False
