"""Sampling in this process: what `kelvin generate` does between its options and the terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from samplers.params import SamplingParams
from server.backends.base import TokenLogprobs
from server.engine.stream import TokenEvent
from server.models.detokenizer import Detokenizer
from server.models.registry import parse_model_ref
from server.settings import Settings
from server.stop_strings import StopStrings

if TYPE_CHECKING:
    from server.app import LoadedModel
    from server.models.progress import Progress
    from server.models.tokenizer import Tokenizer


class Sample:
    """One continuation while it grows.

    Attributes:
        text: what can be shown so far.
        token_ids: drawn so far.
        logprobs: one entry a token, where they were asked for.
        finish_reason: `stop`, `length` or `timeout`; None while it grows.
    """

    def __init__(self, tokenizer: "Tokenizer", stop: Sequence[str]) -> None:
        self.text = ""
        self.token_ids: list[int] = []
        self.logprobs: list[TokenLogprobs] = []
        self.finish_reason: str | None = None
        self._detokenizer = Detokenizer(tokenizer)
        self._stop_strings = StopStrings(stop)

    def take(self, event: TokenEvent) -> str:
        """Add what a step drew, and return the piece of text that it adds; nothing after the sample has ended."""
        if self.finish_reason is not None:
            return ""
        self.token_ids.extend(event.token_ids)
        self.logprobs.extend(event.logprobs)
        piece = self._stop_strings.push(self._detokenizer.push(event.token_ids))
        if event.finish_reason is not None:
            piece += self._stop_strings.push(self._detokenizer.flush()) + self._stop_strings.flush()
        self.finish_reason = "stop" if self._stop_strings.stopped else event.finish_reason
        self.text += piece
        return piece


def load_model(settings: Settings, progress: "Progress") -> "LoadedModel":
    """Load the first of the models and start its engine; for `stopped_after`.

    Args:
        settings: as for a server.
        progress: told how far downloads and conversions are.

    Raises:
        KelvinError: the model is not there or cannot be loaded.
    """
    from server.app import load_engine  # the app brings FastAPI, and FastAPI takes half a second

    return load_engine(settings, parse_model_ref(settings.models[0]), progress)


@contextmanager
def stopped_after(loaded: "LoadedModel") -> Iterator[None]:
    """Stop a model's engine and free its memory at the end of the block, however it ends."""
    try:
        yield
    finally:
        loaded.engine.stop()
        loaded.backend.close()


async def sample_prompt(
    loaded: "LoadedModel",
    prompt: str,
    params: SamplingParams,
    *,
    n: int,
    stop: Sequence[str],
    write: Callable[[int, str], None],
) -> list[Sample]:
    """Draw samples of a prompt's continuation.

    Args:
        loaded: a model whose engine runs.
        prompt: not empty.
        params: shared by the samples.
        n: number of samples, at least 1.
        stop: texts that end a sample before them.
        write: called with a sample's index and each new piece of its text.

    Raises:
        KelvinError: the prompt is empty or too long, or decoding failed.
    """
    samples = [Sample(loaded.tokenizer, stop) for _ in range(n)]
    stream = loaded.engine.submit(loaded.tokenizer.encode(prompt), params, n=n)
    try:
        async for event in stream:
            sample = samples[event.sample]
            write(event.sample, sample.take(event))
            if sample.finish_reason is not None:
                stream.cancel(event.sample)
    finally:
        stream.cancel()
    return samples


def answer(loaded: "LoadedModel", params: SamplingParams, samples: Sequence[Sample]) -> dict[str, Any]:
    """Put samples into the words of the server's answer."""
    return {
        "model": loaded.name,
        "framework": loaded.backend.framework,
        "device": loaded.backend.device,
        "choices": [_choice(index, sample, params) for index, sample in enumerate(samples)],
        "sampling": {"seed": params.seed},
    }


def _choice(index: int, sample: Sample, params: SamplingParams) -> dict[str, Any]:
    return {
        "index": index,
        "text": sample.text,
        "token_ids": sample.token_ids,
        "finish_reason": sample.finish_reason,
        "logprobs": None if params.logprobs is None else _columns(sample.logprobs),
    }


def _columns(logprobs: Sequence[TokenLogprobs]) -> dict[str, Any]:
    return {
        "token_logprobs": [token.logprob for token in logprobs],
        "top": [{"ids": list(token.top_ids), "logprobs": list(token.top_logprobs)} for token in logprobs],
        "entropy": [token.entropy for token in logprobs],
        "kept": [token.kept for token in logprobs],
    }
