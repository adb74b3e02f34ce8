"""Decoding on CPU: the host runs a step part by part, and a step that fails has moved nobody."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from samplers.params import SamplingParams
from server.backends.base import SAMPLER_SECONDS, Decoded
from server.backends.torch_graphs import GraphCounts
from server.backends.torch_sampler import Sampler, describe, measure_rows
from server.histogram import Histogram

Tensor = torch.Tensor
Run = Callable[..., Any]


class DirectDecoding:
    """Where each slot's sequence stands, and the step that moves it on; as `StaticDecoding` for CUDA.

    Attributes:
        max_steps: of a call; what a call costs beside its kernels is little on CPU.
        counts: no step replays a graph.
        sampler_seconds: of each step, what drawing took beside the model.
        unmoved: whether a step that raised has left every sequence where it stood.
    """

    max_steps = 1

    def __init__(
        self,
        forward: Callable[[Tensor, Tensor, Tensor], Tensor],
        sampler: Sampler,
        *,
        num_slots: int,
        device: torch.device,
        run: Run,
    ) -> None:
        """Start with every sequence at position 0.

        Args:
            forward: of token ids, slots and positions, int64 [rows] each; returns raw logits.
            sampler: draws.
            num_slots: slots of requests; the sampler's scratch slots follow.
            device: where everything lives.
            run: calls a function of the sampler, compiled where there is a program for it.
        """
        self._forward, self._sampler, self._run, self._device = forward, sampler, run, device
        slots = num_slots + len(sampler.scratch)
        self.last_token, self.position = (torch.zeros(slots, dtype=torch.int64, device=device) for _ in range(2))
        self.counts = GraphCounts()
        self.sampler_seconds = Histogram(SAMPLER_SECONDS)
        self.unmoved = True

    def admit(self, slot: int, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        """Let a slot feed the last token of its prompt next."""
        self.last_token[slot] = prompt_ids[-1]
        self.position[slot] = len(prompt_ids) - 1

    def decode_steps(self, slots: Sequence[int], params: Sequence[SamplingParams], num_steps: int) -> list[Decoded]:
        """Decode once; see `Backend.decode_steps`."""
        self.unmoved = True
        rows = torch.tensor(slots, dtype=torch.int64, device=self._device)
        logits = self._forward(self.last_token[rows], rows, self.position[rows])
        started_s = time.perf_counter()
        state = self._sampler.take(slots, params)
        processed = self._sampler.process(logits, state, self._run)
        sampled = self._sampler.draw(processed, state, self._run)
        self.sampler_seconds.add(time.perf_counter() - started_s)
        logprobs = [describe(asked, row, logits, state, sampled) for row, asked in enumerate(params)]
        measures = measure_rows(params, logits, processed, state, sampled)
        self.unmoved = False
        self._sampler.move_on(sampled.token_ids)
        self.last_token[rows] = sampled.token_ids.to(torch.int64)
        self.position[rows] += 1
        return [Decoded(sampled.token_ids.tolist(), sampled.finite.tolist(), logprobs, measures)]

    def close(self) -> None:
        """Free nothing: there are no recordings."""
