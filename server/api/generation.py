"""Generation: the samples of one request, from their prompts to their texts."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from samplers.params import SamplingParams
from server.api.completion import Completion, Delta, Stopping
from server.engine.request import Prompt
from server.engine.stream import TokenEvent, TokenStream
from server.errors import InvalidRequestError, KelvinError
from server.loaded import LoadedModel

MOST_MERGED = 1024  # events of several prompts that wait for their consumer; the others wait in the streams


@dataclass(slots=True)
class Generation:
    """What to generate; `deltas` does it, once.

    Attributes:
        model: what generates it.
        prompts: token ids, at least one prompt; one given as a `Prompt` shares its prefill with whoever gives it too.
        params: sampling parameters, shared by all samples.
        n: samples of each prompt.
        stopping: how the samples end, beside their token ids.
        timeout_s: seconds after which they end with what they have; None: no limit.
        queue_timeout_s: seconds after which a prompt fails none of whose samples has got a slot; None: no limit.
        owner: with whose prompts these may share their beginnings; None: nobody's.
        first_sample: what the noise calls the first sample of each prompt.
        streams: one a prompt, once `deltas` has begun.
    """

    model: LoadedModel
    prompts: Sequence[Sequence[int] | Prompt]
    params: SamplingParams
    n: int
    stopping: Stopping
    timeout_s: float | None
    queue_timeout_s: float | None = None
    owner: bytes | None = None
    first_sample: int = 0
    streams: list[TokenStream] = field(default_factory=list)

    @property
    def num_samples(self) -> int:
        """Count the samples of all prompts."""
        return len(self.prompts) * self.n

    async def deltas(self) -> AsyncGenerator[tuple[int, Delta], None]:
        """Yield each sample's deltas as they are drawn, with the sample's index: prompt_index · n + sample.

        Every prompt is queued, or none. However this ends, no sample runs on.

        Raises:
            KelvinError: as `Engine.submit`, or one of the prompts failed; InvalidRequestError also for more samples
                than the queue ever holds.
        """
        completions = [Completion(self.model.tokenizer, self.stopping) for _ in range(self.num_samples)]
        try:
            self._submit()
            async with aclosing(_merge(self.streams)) as events:
                async for prompt_index, event in events:
                    index = prompt_index * self.n + event.sample
                    delta = completions[index].take(event)
                    if delta is None:
                        continue
                    if delta.finish_reason is not None:
                        self.streams[prompt_index].cancel(event.sample)  # the engine knows nothing of stop texts
                    yield index, delta
        finally:
            for stream in self.streams:
                stream.cancel()

    def _submit(self) -> None:
        engine = self.model.engine
        if self.num_samples > engine.queue_limit:
            raise InvalidRequestError(
                f"n times the number of prompts is {self.num_samples}; this server takes at most {engine.queue_limit} "
                "samples in one request, so send several",
                param="n",
            )
        num_tokens = sum(map(len, self.prompts)) + self.num_samples * self.params.max_tokens
        fits = all(len(prompt) + self.params.max_tokens <= engine.backend.max_length for prompt in self.prompts)
        if fits and num_tokens > engine.queue_tokens:  # what does not fit a slot is refused for that
            raise InvalidRequestError(
                f"the prompts and max_tokens of all samples come to {num_tokens} tokens; this server takes at most "
                f"{engine.queue_tokens} in one request, so send several",
                param="max_tokens",
            )
        for prompt in self.prompts:
            stream = engine.submit(
                prompt,
                self.params,
                n=self.n,
                first_sample=self.first_sample,
                timeout_s=self.timeout_s,
                queue_timeout_s=self.queue_timeout_s,
                owner=self.owner,
            )
            self.streams.append(stream)


async def _merge(streams: Sequence[TokenStream]) -> AsyncGenerator[tuple[int, TokenEvent], None]:
    if len(streams) == 1:  # no task in between: a token costs half as much
        async for event in streams[0]:
            yield 0, event
        return
    arrived: asyncio.Queue[tuple[int, TokenEvent | KelvinError | None]] = asyncio.Queue(MOST_MERGED)
    pumps = [asyncio.create_task(_pump(index, stream, arrived)) for index, stream in enumerate(streams)]
    num_running = len(pumps)
    try:
        while num_running:
            index, event = await arrived.get()
            if isinstance(event, KelvinError):
                raise event
            if event is None:
                num_running -= 1
            else:
                yield index, event
    finally:
        for pump in pumps:
            pump.cancel()


async def _pump(
    index: int, stream: TokenStream, arrived: "asyncio.Queue[tuple[int, TokenEvent | KelvinError | None]]"
) -> None:
    try:
        async for event in stream:
            await arrived.put((index, event))
        await arrived.put((index, None))
    except KelvinError as error:
        await arrived.put((index, error))
