"""The sampling half of a step in torch: every slot's parameters and history on the device, and the chain in parts."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch

from samplers.chain import Sampled, distance_from_best, draw, draw_nearest, process
from samplers.kept import Kept, keep_all, truncate
from samplers.logprobs import TokenLogprobs, token_logprobs
from samplers.measures import TokenMeasures, measure
from samplers.params import SamplingParams
from samplers.row import arrays_to_write, state_row
from samplers.state import MOVING, SamplingState, advance, neutral_state
from server.backends.torch_compile import Program

Tensor = torch.Tensor
Run = Callable[..., Any]


class Sampler:
    """Draws tokens for rows of slots from their logits.

    Attributes:
        scratch: slots that no request has, for the compiler's trial runs.
    """

    def __init__(
        self,
        *,
        num_slots: int,
        scratch: Sequence[int],
        vocab_size: int,
        eos_token_ids: Sequence[int],
        max_length: int,
        device: torch.device,
    ) -> None:
        """Start with neutral parameters in every slot.

        Args:
            num_slots: slots of requests.
            scratch: the slots that follow.
            vocab_size: width of the logits.
            eos_token_ids: the model's end-of-sequence ids.
            max_length: positions of a slot.
            device: where the state lives.
        """
        self.scratch = scratch
        self._device = device
        self._vocab_size, self._eos_token_ids = vocab_size, eos_token_ids
        state = neutral_state(num_slots + len(scratch), vocab_size, len(eos_token_ids), max_length)
        self._state = SamplingState(*(torch.from_numpy(getattr(state, f.name)).to(device) for f in fields(state)))
        self._processing: set[int] = set()  # slots whose last sample asked for it
        self._taken: SamplingState | None = None
        self._asked: tuple[tuple[int, ...], bool, bool] = ((), False, False)

    def admit(self, slot: int, prompt_ids: Sequence[int], params: SamplingParams, sample_index: int) -> None:
        """Write a sample's parameters and history into a slot."""
        self._put_back()
        row = state_row(
            params,
            prompt_ids=prompt_ids,
            sample_index=sample_index,
            eos_token_ids=self._eos_token_ids,
            like=self._state,
        )
        for name in arrays_to_write(slot, params, self._processing):
            getattr(self._state, name)[slot] = torch.from_numpy(getattr(row, name))[0]

    def take(self, slots: Sequence[int], params: Sequence[SamplingParams]) -> SamplingState:
        """Pick the state of slots, as much of it as any of their parameters asks for.

        What was picked is kept and moved on in place of the slots, for the next step most often has the same ones.
        """
        processes, truncates = any(row.processes for row in params), any(row.truncates for row in params)
        asked = (tuple(slots), processes, truncates)
        if self._taken is None or asked != self._asked:
            self._put_back()
            rows = torch.tensor(slots, device=self._device)
            self._asked, self._taken = asked, self._state.take(rows, processes=processes, truncates=truncates)
        return self._taken

    def process(self, logits: Tensor, state: SamplingState, run: Run) -> Tensor:
        """Apply what comes before temperature and truncation, where any row asks for it.

        Args:
            logits: raw, float32 [rows, vocab].
            state: of these rows, from `take`.
            run: calls a function, compiled where there is a program for it.
        """
        return run(process, logits, state) if len(state.allowed) else logits

    def draw(self, processed: Tensor, state: SamplingState, run: Run) -> Sampled:
        """Draw a token for every row from its processed logits; else as `process`."""
        return draw(processed, state, truncates=len(state.top_p) > 0, run=run)

    def move_on(self, token_ids: Tensor) -> None:
        """Remember what was drawn, int32 [rows], for the slots that were taken last."""
        assert self._taken is not None
        self._taken = advance(self._taken, token_ids)

    def gather(self, slots: Tensor, *, processes: bool, truncates: bool) -> SamplingState:
        """Pick the state of slots, int64 [rows], for steps that leave nothing outside the slots."""
        return self._state.take(slots, processes=processes, truncates=truncates)

    def move_slots_on(self, slots: Tensor, state: SamplingState, token_ids: Tensor, live: Tensor) -> None:
        """Remember what was drawn, int32 [rows], in the slots that `gather` picked, where `live`, bool [rows]."""
        moved = advance(state, token_ids)
        for name in MOVING:
            if len(before := getattr(state, name)):
                after = getattr(moved, name)
                moves = live if after.ndim == 1 else live[:, None]
                getattr(self._state, name)[slots] = torch.where(moves, after, before)

    def _put_back(self) -> None:
        if self._taken is not None:
            rows = torch.tensor(self._asked[0], device=self._device)
            for name in MOVING:
                if len(array := getattr(self._taken, name)):
                    getattr(self._state, name)[rows] = array
        self._taken = None

    def programs(self) -> list[Program]:
        """List what `process` and `draw` run, for several rows and for one; the trial runs change nothing."""
        parts = [self._process, self._distance, self._truncate, self._nearest]
        return [part(rows) for part in parts for rows in (self.scratch, self.scratch[:1])]

    def _process(self, rows: Sequence[int]) -> Program:
        return Program(process, lambda: (self._logits(rows), self._example(rows, processes=True)))

    def _distance(self, rows: Sequence[int]) -> Program:
        return Program(distance_from_best, lambda: (self._logits(rows),))

    def _truncate(self, rows: Sequence[int]) -> Program:
        return Program(truncate, lambda: (self._logits(rows), self._example(rows, truncates=True)))

    def _nearest(self, rows: Sequence[int]) -> Program:
        def example() -> tuple[Tensor, Kept, SamplingState]:
            state = self._example(rows)
            kept = keep_all(state)
            return self._logits(rows), Kept(*(dynamic(getattr(kept, field.name)) for field in fields(kept))), state

        return Program(draw_nearest, example)

    def _logits(self, rows: Sequence[int]) -> Tensor:
        return dynamic(torch.zeros(len(rows), self._vocab_size, device=self._device))

    def _example(self, rows: Sequence[int], *, processes: bool = False, truncates: bool = False) -> SamplingState:
        state = self._state.take(torch.tensor(rows, device=self._device), processes=processes, truncates=truncates)
        for field in fields(state):
            if len(array := getattr(state, field.name)):
                dynamic(array)
        return state


def describe(
    params: SamplingParams, row: int, logits: Tensor, state: SamplingState, sampled: Sampled
) -> TokenLogprobs | None:
    """Describe the draw of one row on the host, if its parameters ask for it.

    Args:
        params: the row's.
        row: its place in the arrays.
        logits: raw, float32 [rows, vocab].
        state: that the rows were drawn with.
        sampled: what was drawn.
    """
    if params.logprobs is None:
        return None
    picked = state.take(torch.tensor([row], device=logits.device), processes=params.processes, truncates=False)
    host = SamplingState(*(getattr(picked, field.name).cpu().numpy() for field in fields(picked)))
    kept = Kept(*(getattr(sampled.kept, field.name)[row : row + 1].cpu().numpy() for field in fields(Kept)))
    token_id = int(sampled.token_ids[row])
    return token_logprobs(logits[row].cpu().numpy(), host, kept, token_id, params.logprobs, params.logprobs_mode)


def measure_rows(
    params: Sequence[SamplingParams], logits: Tensor, processed: Tensor, state: SamplingState, sampled: Sampled
) -> list[TokenMeasures | None]:
    """Measure the draws of the rows whose parameters ask for it.

    Args:
        params: of each row.
        logits: raw, float32 [rows, vocab].
        processed: as the draw saw them, likewise.
        state: that the rows were drawn with.
        sampled: what was drawn.
    """
    measures: list[TokenMeasures | None] = [None] * len(params)
    asked = [row for row, own in enumerate(params) if own.measures]
    if asked:
        rows = slice(None) if len(asked) == len(params) else torch.tensor(asked, device=logits.device)
        kept = Kept(*(getattr(sampled.kept, field.name)[rows] for field in fields(Kept)))
        found = measure(logits[rows], processed[rows], kept, state.temperature[rows], sampled.token_ids[rows])
        for row, values in zip(asked, found.tolist(), strict=True):
            measures[row] = TokenMeasures(*values)
    return measures


def dynamic(array: Tensor) -> Tensor:
    """Let the number of rows be no part of a program, where it is more than one."""
    if len(array) > 1:
        torch._dynamo.mark_dynamic(array, 0)
    return array
