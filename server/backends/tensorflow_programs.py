"""Which way a call runs: as a program for its number of rows where that is compiled, else as a graph or at once."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from server.backends.tensorflow_compile import Compilation, graph, program
from server.backends.tensorflow_decoding import Decoding

Tensor = Any
Function = Callable[..., Any]

ROW_COUNTS = 1, *(2**i for i in range(3, 16))  # of programs; few rows take as long as 8, which wait for the weights too


class Programs:
    """Runs what `Decoding` computes.

    A program depends on nothing but the number of rows, which is rounded up. The rows that fill it up run in a slot
    that nobody reads.
    """

    def __init__(self, decoding: Decoding, *, num_slots: int, chunk: int | None, compile: bool) -> None:
        """Start compiling in the background.

        Args:
            decoding: what is computed.
            num_slots: the most rows of a step.
            chunk: tokens of a program that reads prompts; None: there is none, and all is run by kernels, which
                graphs do not know and which as single calls are as fast.
            compile: False leaves everything to graphs and single operations.
        """
        self._decoding, self._chunk = decoding, chunk
        rows, tokens, scalar = (tf.TensorSpec(shape, tf.int32) for shape in ([None], [None, None], []))
        self._write = graph(decoding.write, tokens, tokens, tokens)
        self._steps = graph(decoding.steps, rows, scalar, scalar)
        self._row_counts = [rows for rows in ROW_COUNTS if rows < num_slots] + [num_slots]
        self._compilation = Compilation(self.trials()) if compile else None

    def write(self, token_ids: Tensor, slots: Tensor, positions: Tensor) -> None:
        """Write pieces of prompts, int32 [rows, tokens]: rows of one token each, or one row to be filled up."""
        written = self._compiled("prefill")
        if written is not None:
            assert self._chunk is not None
            missing = [[0, 0], [0, self._chunk - token_ids.shape[1]]]
            slots = tf.pad(slots, missing, constant_values=self._decoding.scratch)
            return written(tf.pad(token_ids, missing), slots, tf.pad(positions, missing))
        return (self._write if self._traced() else self._decoding.write)(token_ids, slots, positions)

    def steps(self, slots: list[int], variant: int, num_steps: int) -> tuple[Tensor, ...]:
        """Decode, as `Decoding.steps` does; of the rows that are left those beyond `slots` mean nothing."""
        rows = self._rows(len(slots))
        missing = 0 if rows is None else rows - len(slots)
        run = self._compiled(rows) or (self._steps if self._traced() else self._decoding.steps)
        return run(*map(tf.constant, ([*slots, *[self._decoding.scratch] * missing], variant, num_steps)))

    def all_or_nothing(self, count: int) -> bool:
        """Say whether a step of so many rows that fails has written nothing, as only a program's has not."""
        return self._rows(count) is not None

    @property
    def compiled_share(self) -> float:
        """Return the share of the programs that are compiled, 0 to 1."""
        return 0.0 if self._compilation is None else self._compilation.share

    @property
    def compile_events(self) -> Mapping[str, int]:
        """Count what has come of compiling, by name of COMPILE_EVENTS."""
        return {} if self._compilation is None else self._compilation.events

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the programs, and say whether they have taken over."""
        return self._compilation is not None and self._compilation.wait(timeout_s)

    def close(self) -> None:
        """Stop compiling, and forget what was compiled."""
        if self._compilation is not None:
            self._compilation.close()
        del self._write, self._steps

    def trials(self) -> dict[str | int, Callable[[], Function]]:
        """Make trial runs of all programs, which return them; they write to the scratch slot and nowhere else."""
        *smaller, largest = self._row_counts
        trials: dict[str | int, Callable[[], Function]] = {}
        if self._chunk is not None:
            trials["prefill"] = self._try_prefill
        # The largest has room for all that are not compiled yet, but for a few rows it is no faster than single calls.
        for rows in (*smaller[:2], largest, *smaller[2:]):
            trials[rows] = partial(self._try_steps, rows)
        return trials

    def _try_prefill(self) -> Function:
        piece = tf.zeros([1, self._chunk], tf.int32)
        return program(self._write, piece, piece + self._decoding.scratch, piece)

    def _try_steps(self, rows: int) -> Function:
        return program(self._steps, tf.fill([rows], self._decoding.scratch), tf.constant(0), tf.constant(1))

    def _compiled(self, name: str | int | None) -> Function | None:
        return None if self._compilation is None or name is None else self._compilation.program(name)

    def _rows(self, count: int) -> int | None:
        """Return the rows of the smallest program that has room for so many, or None where there is none."""
        return next((rows for rows in self._row_counts if rows >= count and self._compiled(rows)), None)

    def _traced(self) -> bool:
        """Say whether to run graphs: where no programs come that would take over before a graph has paid for itself."""
        return self._chunk is not None and (self._compilation is None or self._compilation.failed)
