"""Blame: whose failure it is when the backend raises, so that nobody else's request ends with it."""

from collections.abc import Sequence

from server.engine.request import Sample
from server.errors import KelvinError, OutOfMemoryError

_NAMES = {"MemoryError", "OutOfMemoryError", "ResourceExhaustedError"}  # Python's, torch's and TensorFlow's
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
