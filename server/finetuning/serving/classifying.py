"""Classifying: inputs to probabilities, on one thread of its own, so that the event loop and samplers go on."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from server.errors import InvalidRequestError, NumericalError
from server.finetuning.serving.classifiers import Classifiers

BATCH = 64
MAX_DIMENSIONS = 8  # of a row; an image has two or three


@dataclass(frozen=True, slots=True)
class Classified:
    """What a classifier says of some inputs.

    Attributes:
        classes: names, in the order of the columns.
        probabilities: float64 [inputs, classes]; rows sum to 1.
        temperature: that the logits were divided by.
    """

    classes: Sequence[str]
    probabilities: np.ndarray
    temperature: float


class Classifying:
    """Answers one request after another: classifiers are for one thread at a time."""

    def __init__(self, classifiers: Classifiers) -> None:
        """Prepare.

        Args:
            classifiers: loaded when they are asked for.
        """
        self._classifiers = classifiers
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="classify")

    def submit(
        self, name: str, inputs: Sequence[str] | Sequence[object], temperature: float | None
    ) -> Future[Classified]:
        """Classify inputs, in its turn.

        Args:
            name: of the classifier.
            inputs: texts, or numeric rows of equal shape; at least one.
            temperature: > 0; None: the classifier's own.

        Raises:
            Through the future: NotFoundError, ClassifierError, InvalidRequestError, NumericalError.
        """
        return self._pool.submit(self._classify, name, inputs, temperature)

    def close(self) -> None:
        """Finish what runs, and drop what waits."""
        self._pool.shutdown(cancel_futures=True)

    def _classify(self, name: str, inputs: Sequence[str] | Sequence[object], temperature: float | None) -> Classified:
        classifier = self._classifiers.get(name)
        given = inputs if isinstance(inputs[0], str) else as_rows(inputs)
        pieces = [classifier.logits(given[start : start + BATCH]) for start in range(0, len(given), BATCH)]
        logits = np.concatenate(pieces).astype(np.float64)
        if not np.isfinite(logits).all():
            if given is not inputs:  # weights are finite and so are the rows: these are too great together
                raise InvalidRequestError(
                    "input holds numbers so great that the classifier's arithmetic overflows; scale them as those that "
                    "it was trained on",
                    param="input",
                )
            raise NumericalError("the classifier's logits were not finite for one of the inputs")
        served = classifier.temperature if temperature is None else temperature
        return Classified(classifier.classes, softmax(logits / served, axis=1), served)


def as_rows(inputs: Sequence[object]) -> np.ndarray:
    """Return numeric rows as an array, float32 [rows, …].

    Raises:
        InvalidRequestError: they are no rows of numbers of one shape, or a number is not finite in float32.
    """
    if not all(_is_of_numbers(own, MAX_DIMENSIONS) for own in inputs):  # NumPy would take texts and true for numbers
        raise InvalidRequestError("input must hold texts, or rows of numbers", param="input")
    try:
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is refused below
            rows = np.asarray(inputs, np.float64).astype(np.float32)
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequestError(
            "input must hold texts, or rows of numbers that are all of one length", param="input"
        ) from None
    if rows.ndim < 2 or rows.size == 0 or not np.isfinite(rows).all():
        raise InvalidRequestError("input must hold rows of finite numbers, each a list", param="input")
    return rows


def _is_of_numbers(value: object, depth: int) -> bool:
    if isinstance(value, list):
        return depth > 0 and all(_is_of_numbers(own, depth - 1) for own in value)
    return isinstance(value, int | float) and not isinstance(value, bool)
