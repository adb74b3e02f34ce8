"""Decoding at fixed addresses, for CUDA: a step that the host never waits within, read while the next one runs."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from samplers.chain import Sampled
from samplers.params import MAX_STOP_TOKEN_IDS, SamplingParams
from samplers.state import SamplingState
from server.backends.base import Decoded
from server.backends.torch_graphs import GraphCounts, Graphs, Mailbox, Record, buckets_of
from server.backends.torch_sampler import Sampler, describe, measure_rows

Tensor = torch.Tensor
Run = Callable[..., Any]

MAX_STEPS = 8  # of one call: by then the wait at its end is an eighth of it
CALL_S = 0.02  # what a call may take, so that cancelling and joining wait no longer for it than for a large step
_BYTES_PER_S = 1e12  # that a GPU reads, rather too low: a step reads every weight


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step leaves on the device, valid until the next one.

    Attributes:
        drawn: token; 1 where the row's logits were finite, else 0; 1 where the row goes on, else 0; int32 [rows, 3].
        logits: raw, float32 [rows, vocab].
        processed: as the draw saw them, likewise.
        state: that the rows were drawn with.
        sampled: what was drawn.
    """

    drawn: Tensor
    logits: Tensor
    processed: Tensor
    state: SamplingState
    sampled: Sampled


@dataclass(frozen=True, slots=True)
class Rows:
    """The static arrays that say which rows a step of one size has.

    Attributes:
        slots: int64 [rows]; what is left over has a slot of nobody.
        live: whether a row still draws, bool [rows]; the step clears it where a sequence ends.
    """

    slots: Tensor
    live: Tensor


class StaticDecoding:
    """Where each slot's sequence stands, and the steps that move it on.

    Everything that a step reads and writes lies where it lay at the last one: a step of a given size that does given
    things is one recording, whichever slots it is for. It ends with a copy to the host that nobody waits for until the
    next step has been started.

    Attributes:
        max_steps: of a call.
        sampler_seconds: forward and sampler are one recording.
        unmoved: what has been started cannot be called back.
    """

    sampler_seconds = None
    unmoved = False

    def __init__(
        self,
        forward: Callable[[Tensor, Tensor, Tensor], Tensor],
        sampler: Sampler,
        *,
        num_slots: int,
        eos_token_ids: Sequence[int],
        device: torch.device,
        record: Record,
        run: Run,
        settled: Callable[[], bool],
        max_steps: int,
    ) -> None:
        """Start with every sequence at its end.

        Args:
            forward: of token ids, slots and positions, int64 [rows] each; returns raw logits.
            sampler: draws.
            num_slots: slots of requests; the sampler's scratch slots follow.
            eos_token_ids: the model's end-of-sequence ids.
            device: where everything lives.
            record: makes recordings; see `Graphs`.
            run: calls a function of the sampler, compiled where there is a program for it.
            settled: says whether functions will stay what they are; nothing is recorded before.
            max_steps: of a call; see `pick_max_steps`.
        """
        self._forward, self._sampler, self._run, self._settled = forward, sampler, run, settled
        self.max_steps = max_steps
        self._eos_token_ids, self._scratch = eos_token_ids, sampler.scratch[0]
        self._num_stop_ids = MAX_STOP_TOKEN_IDS + len(eos_token_ids)
        slots = num_slots + len(sampler.scratch)
        self.last_token, self.position, self._end = (
            torch.zeros(slots, dtype=torch.int64, device=device) for _ in range(3)
        )
        self._stop_ids = torch.zeros(slots, self._num_stop_ids, dtype=torch.int32, device=device)
        self._buckets = buckets_of(num_slots)
        self._graphs: Graphs[StepOutcome] = Graphs(record)
        self._rows = {
            size: Rows(
                torch.full((size,), self._scratch, dtype=torch.int64, device=device),
                torch.zeros(size, dtype=torch.bool, device=device),
            )
            for size in self._buckets
        }
        pinned = device.type == "cuda"
        self._staged = [torch.empty(num_slots, dtype=dtype, pin_memory=pinned) for dtype in (torch.int64, torch.bool)]
        self._mailboxes = [Mailbox((num_slots, 3), torch.int32, device) for _ in range(2)]

    @property
    def counts(self) -> GraphCounts:
        """Return how many steps replayed a graph, and how many did not."""
        return self._graphs.counts

    def admit(self, slot: int, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        """Let a slot feed the last token of its prompt next, and end where its parameters say."""
        stop_ids = sorted(params.stop_ids(self._eos_token_ids))
        padded = [*stop_ids, *[-1] * (self._num_stop_ids - len(stop_ids))]
        self.last_token[slot] = prompt_ids[-1]
        self.position[slot] = len(prompt_ids) - 1
        self._end[slot] = len(prompt_ids) - 1 + params.max_tokens
        self._stop_ids[slot] = torch.tensor(padded, dtype=torch.int32)

    def decode_steps(self, slots: Sequence[int], params: Sequence[SamplingParams], num_steps: int) -> list[Decoded]:
        """Decode up to so many times; see `Backend.decode_steps`.

        The host reads a step while the device runs the next. A step in which a row asks for logprobs or measures is
        described before another is started: there the host waits for the device.
        """
        rows = self.place(slots)
        if any(asked.logprobs is not None or asked.measures for asked in params):
            outcome = self.start(rows, params)
            self._mailboxes[0].post(outcome.drawn)
            logits, processed, state, sampled = outcome.logits, outcome.processed, outcome.state, outcome.sampled
            logprobs = [describe(asked, row, logits, state, sampled) for row, asked in enumerate(params)]
            measures = measure_rows(params, logits, processed, state, sampled)
            return [replace(self._read(0, len(slots))[0], logprobs=logprobs, measures=measures)]
        decoded: list[Decoded] = []
        for number in range(num_steps + 1):
            if number < num_steps:
                self._mailboxes[number % 2].post(self.start(rows, params).drawn)
            if number:
                step, goes_on = self._read((number - 1) % 2, len(slots))
                decoded.append(step)
                if not goes_on:
                    break  # what has been started beyond it moves nobody
        return decoded

    def place(self, slots: Sequence[int]) -> Rows:
        """Put slots into the static arrays of the least size that holds them, every one to be drawn for."""
        size = self._buckets[bisect_left(self._buckets, len(slots))]
        rows, (staged_slots, staged_live) = self._rows[size], (staged[:size] for staged in self._staged)
        missing = size - len(slots)
        staged_slots.copy_(torch.tensor([*slots, *[self._scratch] * missing]))
        staged_live.copy_(torch.tensor([*[True] * len(slots), *[False] * missing]))
        self._unstage(rows)
        return rows

    def start(self, rows: Rows, params: Sequence[SamplingParams]) -> StepOutcome:
        """Start a step for placed rows, and return without waiting for it."""
        size = len(rows.slots)
        processes, truncates = any(own.processes for own in params), any(own.truncates for own in params)

        def step() -> StepOutcome:
            return self.step(rows, processes=processes, truncates=truncates)

        def idle() -> None:
            rows.slots.fill_(self._scratch)
            rows.live.fill_(False)

        if not self._settled():
            return self._graphs.run_without(step)
        return self._graphs.run((size, processes, truncates), step, idle, lambda: self._unstage(rows))

    def step(self, rows: Rows, *, processes: bool, truncates: bool) -> StepOutcome:
        """Feed each row's last token, draw its next, and move on the rows that are live; all on the device."""
        slots, live = rows.slots, rows.live
        token_ids, positions = self.last_token[slots], self.position[slots]
        logits = self._forward(token_ids, slots, positions)
        state = self._sampler.gather(slots, processes=processes, truncates=truncates)
        processed = self._sampler.process(logits, state, self._run)
        sampled = self._sampler.draw(processed, state, self._run)
        self._sampler.move_slots_on(slots, state, sampled.token_ids, live)
        self.last_token[slots] = torch.where(live, sampled.token_ids.to(torch.int64), token_ids)
        self.position[slots] = positions + live
        stopped = (self._stop_ids[slots] == sampled.token_ids[:, None]).any(1)
        live &= sampled.finite & ~stopped & (positions + 1 < self._end[slots])
        drawn = torch.stack([sampled.token_ids, sampled.finite.to(torch.int32), live.to(torch.int32)], 1)
        return StepOutcome(drawn, logits, processed, state, sampled)

    def close(self) -> None:
        """Free the recordings."""
        self._graphs.clear()

    def _unstage(self, rows: Rows) -> None:
        for array, staged in zip((rows.slots, rows.live), self._staged, strict=True):
            array.copy_(staged[: len(array)], non_blocking=True)

    def _read(self, mailbox: int, rows: int) -> tuple[Decoded, bool]:
        """Wait for a step, and say what it drew and whether any of its rows goes on."""
        read = self._mailboxes[mailbox].read(rows)
        nothing: list[None] = [None] * rows
        step = Decoded([row[0] for row in read], [bool(row[1]) for row in read], [*nothing], [*nothing])
        return step, any(row[2] for row in read)


def pick_max_steps(weight_bytes: int) -> int:
    """Return the steps of a call for a model: more than one where a step is short beside the wait at a call's end."""
    return max(1, min(MAX_STEPS, int(CALL_S * _BYTES_PER_S / weight_bytes)))
