"""Sampling: what the arms of a comparison write for its prompts, in one batch and from one prefill a prompt."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from samplers.measures import TokenMeasures
from samplers.params import SamplingParams
from server.api.completion import Delta, Stopping
from server.api.generation import Generation
from server.comparison.completion import Completion
from server.engine.request import Prompt
from server.errors import KelvinError, OverloadedError, UnavailableError
from server.loaded import LoadedModel

log = logging.getLogger(__name__)

WAIT_S = 0.5  # before a queue that was full is tried again


@dataclass(frozen=True, slots=True)
class Writer:
    """An arm as it samples.

    Attributes:
        name: of the arm.
        model: that writes.
        params: with `measures`, and the seed of the arm.
        stopping: how its samples end, beside their token ids.
        template: the prompt's surroundings, with `{prompt}` in its place; None: the prompt as it is.
        special_tokens: whether names of special tokens in the text are read as these tokens.
    """

    name: str
    model: LoadedModel
    params: SamplingParams
    stopping: Stopping
    template: str | None = None
    special_tokens: bool = False

    def text(self, prompt: str) -> str:
        """Return what the model is to continue."""
        return prompt if self.template is None else self.template.replace("{prompt}", prompt)


@dataclass(frozen=True, slots=True)
class Written:
    """What the arms wrote for one prompt.

    Attributes:
        completions: arm by arm, sample by sample; those that failed are absent.
        failed: arm → how many of its samples failed.
        errors: arm → what the first of them failed of.
    """

    completions: list[Completion] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


class Sampling:
    """Draws the samples of a comparison, as many at once as the engines have slots and not many more.

    Each sample is a request of its own, so that it fails alone and others get their turn between; all that continue the
    same text share its prefill. The noise of a sample is named by its number, not by its arm: equal seeds make equal
    noise.
    """

    def __init__(self, writers: Sequence[Writer], samples: int) -> None:
        """Prepare to sample, on a running event loop.

        Args:
            writers: the arms.
            samples: of each prompt and arm, ≥ 1.
        """
        self._writers = writers
        self._samples = samples
        slots = {writer.model.name: writer.model.engine.backend.num_slots for writer in writers}
        # A few wait in the engine, so that a slot which becomes free is not idle until this loop hears of it.
        self._places = {name: asyncio.Semaphore(count + max(1, count // 8)) for name, count in slots.items()}

    @property
    def prompts_at_once(self) -> int:
        """Say how many prompts fill all slots, and one more for when the last samples of another are drawn."""
        slots = max(writer.model.engine.backend.num_slots for writer in self._writers)
        return 1 + -(-slots // (len(self._writers) * self._samples))

    async def write(self, prompt_index: int, prompt: str) -> Written:
        """Draw every sample of every arm for a prompt.

        Args:
            prompt_index: from 0.
            prompt: as it was given; each arm's template surrounds it.

        Raises:
            UnavailableError: an engine has stopped.
        """
        prompts = await self._encode(prompt)
        async with asyncio.TaskGroup() as tasks:
            drawing = [
                (writer, tasks.create_task(self._draw(writer, prompts[writer.name], prompt_index, sample)))
                for sample in range(self._samples)
                for writer in self._writers
            ]
        written = Written()
        for writer in self._writers:
            outcomes = [task.result() for owner, task in drawing if owner is writer]
            errors = [outcome for outcome in outcomes if isinstance(outcome, KelvinError)]
            written.completions.extend(outcome for outcome in outcomes if isinstance(outcome, Completion))
            if errors:
                written.failed[writer.name] = len(errors)
                written.errors[writer.name] = str(errors[0])
        return written

    async def _encode(self, prompt: str) -> Mapping[str, Prompt]:
        """Return each arm's prompt; arms of one model whose templates make the same text share one."""
        shared: dict[tuple[str, str, bool], Prompt] = {}
        prompts = {}
        for writer in self._writers:
            text = writer.text(prompt)
            key = (writer.model.name, text, writer.special_tokens)
            if key not in shared:
                shared[key] = Prompt(tuple(await asyncio.to_thread(writer.model.tokenizer.encode, *key[1:])))
            prompts[writer.name] = shared[key]
        return prompts

    async def _draw(self, writer: Writer, prompt: Prompt, prompt_index: int, sample: int) -> Completion | KelvinError:
        generation = Generation(
            model=writer.model,
            prompts=[prompt],
            params=writer.params,
            n=1,
            stopping=writer.stopping,
            timeout_s=None,
            first_sample=sample,
        )
        async with self._places[writer.model.name]:
            while True:
                try:
                    return as_completion(writer.name, prompt_index, sample, await _all(generation))
                except OverloadedError:
                    await asyncio.sleep(WAIT_S)  # others have filled the queue; a comparison has time
                except UnavailableError:
                    raise
                except KelvinError as error:
                    return error


async def _all(generation: Generation) -> list[Delta]:
    async with aclosing(generation.deltas()) as deltas:
        return [delta async for _, delta in deltas]


def as_completion(arm: str, prompt_index: int, sample_index: int, deltas: Sequence[Delta]) -> Completion:
    """Join the deltas of a sample, measured, into a completion.

    Args:
        arm: name of the arm.
        prompt_index: from 0.
        sample_index: from 0.
        deltas: all of them, at least one.
    """
    measures = [measure for delta in deltas for measure in delta.measures]
    columns = zip(*measures, strict=True) if measures else ((),) * len(TokenMeasures._fields)
    figures = dict(zip(TokenMeasures._fields, map(tuple, columns), strict=True))
    figures["kept"] = tuple(int(count) for count in figures["kept"])
    return Completion(
        arm=arm,
        prompt_index=prompt_index,
        sample_index=sample_index,
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token_id for delta in deltas for token_id in delta.token_ids),
        finish_reason=str(deltas[-1].finish_reason),
        **figures,
    )
