"""Sampling in this process: what `kelvin generate` does between its options and the terminal.

A prompt and its parameters are a request like any other, so that the command line and the server take the same values,
refuse the same ones and answer in the same words.
"""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from server.api.answers import describe_choice, describe_origin, describe_outcome, join
from server.api.completion import Delta, Stopping
from server.api.generation import Generation
from server.api.invalid_fields import describe_invalid_field
from server.api.prompts import encode_prompts
from server.api.sampling import Sampling, resolve_sampling
from server.api.schemas.generate import GenerateRequest
from server.models.reference import parse_model_ref
from server.settings import Settings

if TYPE_CHECKING:
    from server.loaded import LoadedModel
    from server.models.progress import Progress


def read_request(**values: Any) -> GenerateRequest:
    """Check what was asked for.

    Args:
        values: fields of `POST /generate` by name; None stands for "not given".

    Raises:
        InvalidRequestError: a value is of the wrong type or out of range; `param` names it.
    """
    try:
        return GenerateRequest(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise describe_invalid_field(error.errors(), GenerateRequest) from None


def settle_sampling(request: GenerateRequest, settings: Settings) -> Sampling:
    """Settle every sampling parameter before a model is loaded, so that a wrong one is known at once.

    Args:
        request: names no token ids, so that no vocabulary is needed to check them.
        settings: bounds the time.

    Raises:
        InvalidRequestError: a value is out of range; `param` names it.
    """
    return resolve_sampling(request, vocab_size=0, max_timeout_s=settings.max_timeout_s)


def load_model(settings: Settings, progress: "Progress") -> "LoadedModel":
    """Load the first of the models and start its engine; the caller closes it.

    Args:
        settings: as for a server.
        progress: told how far downloads and conversions are.

    Raises:
        KelvinError: the model is not there or cannot be loaded.
    """
    from server.app import load_engine  # the app brings FastAPI, which takes half a second

    return load_engine(settings, parse_model_ref(settings.models[0]), progress)


async def draw_samples(
    model: "LoadedModel", request: GenerateRequest, sampling: Sampling, write: Callable[[int, str], None]
) -> tuple[Generation, list[Delta]]:
    """Draw the samples of a request.

    Args:
        model: its engine runs.
        request: what to continue, and how the samples end.
        sampling: the request's, settled.
        write: called with a sample's index and each new piece of its text.

    Returns:
        What was generated, and each sample as a whole.

    Raises:
        KelvinError: the prompt is empty or too long, or decoding failed.
    """
    generation = Generation(
        model=model,
        prompts=await encode_prompts(model.tokenizer, request.prompt, special_tokens=request.special_tokens),
        params=sampling.params,
        n=request.n,
        stopping=Stopping(tuple(request.stop), request.min_tokens, request.include_stop),
        timeout_s=sampling.timeout_s,
    )
    deltas: list[list[Delta]] = [[] for _ in range(generation.num_samples)]
    async with aclosing(generation.deltas()) as arriving:
        async for index, delta in arriving:
            write(index, delta.text)
            deltas[index].append(delta)
    return generation, [join(parts) for parts in deltas]


def describe_answer(generation: Generation, sampling: Sampling, samples: Sequence[Delta]) -> dict[str, Any]:
    """Put samples into the words of the server's answer."""
    num_tokens = sum(len(sample.token_ids) for sample in samples)
    return {
        **describe_origin("gen-local", generation),
        "choices": [describe_choice(index, sample, generation) for index, sample in enumerate(samples)],
        **describe_outcome(num_tokens, generation, sampling),
    }
