"""TensorFlowBackend: a decoder's weights, its KV slots, and its decode-and-sample step in TensorFlow."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from samplers.chain import process, sample
from samplers.history import History, append
from samplers.kept import Kept
from samplers.logprobs import TokenLogprobs, token_logprobs
from samplers.measures import TokenMeasures, measure
from samplers.params import SamplingParams
from samplers.row import state_row
from samplers.state import SamplingState, neutral_state
from server.backends.base import Decoded, PromptPiece, Reproducible
from server.backends.tensorflow_cache import Cache
from server.backends.tensorflow_compile import Compilation
from server.backends.tensorflow_decoder import Decoder
from server.backends.tensorflow_process import settle_process
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights

Tensor = Any

PREFILL_CHUNK = 64  # tokens of one prefill program, which a shorter piece pays for in full
VARIANTS = ((False, False), (False, True), (True, True))  # processes, truncates: what the rows of a step ask for


class TensorFlowBackend:
    """Runs a decoder over fixed slots; see `Backend` for what each method promises.

    Everything that differs from request to request lies in variables or is an argument, so that a program depends on
    nothing but the number of rows, which is rounded up. The rows that fill it up run in a slot that nobody reads. XLA
    may add up otherwise in a program for more rows, so that a seed promises its noise and not the bits of the logits.
    """

    framework = "tensorflow"

    def __init__(
        self,
        spec: DecoderSpec,
        weights: DecoderWeights,
        *,
        dtype: Literal["auto", "bfloat16", "float32"] = "auto",
        device: str = "auto",
        num_slots: int = 32,
        max_length: int = 2048,
        compile: bool = True,
        threads: int = 0,
        cache_dir: Path,
    ) -> None:
        """Load a model onto a device.

        Args:
            spec: the decoder's shape.
            weights: its arrays.
            dtype: of weights and cache; auto is bfloat16 on a GPU, else float32: XLA's bfloat16 is slower on CPUs.
            device: `auto`, `cpu`, `cuda` or `cuda:N`; auto is a GPU where one is there.
            num_slots: sequences held at once.
            max_length: positions of a slot; no more than the model was made for.
            compile: whether to compile the prefill and the decode step in the background.
            threads: CPU threads; 0 leaves TensorFlow's own choice.
            cache_dir: keeps compiled programs from one start to the next.

        Raises:
            ModelError: the device is not there.
        """
        self.device = settle_process(device, threads, cache_dir)
        self._dtype = pick_dtype(dtype, self.device)
        self.dtype = self._dtype.name
        self.vocab_size, self.eos_token_ids = spec.vocab_size, spec.eos_token_ids
        self.num_slots, self.max_length = num_slots, min(max_length, spec.context_length)
        self.prefill_chunk = PREFILL_CHUNK
        self._decoder = Decoder(spec, weights, dtype=self._dtype, max_length=self.max_length)
        self._scratch = num_slots  # one slot more than there are requests
        shape = num_slots + 1, spec.num_kv_heads, self.max_length, spec.head_dim
        self._keys = [Cache(*shape, self._dtype) for _ in range(spec.num_layers)]
        self._values = [Cache(*shape, self._dtype) for _ in range(spec.num_layers)]
        self._state = self._neutral_state()
        self._last_token, self._position = (
            tf.Variable(tf.zeros([num_slots + 1], tf.int32), trainable=False) for _ in range(2)
        )
        self._params: dict[int, SamplingParams] = {}
        rows, tokens, scalar = (tf.TensorSpec(shape, tf.int32) for shape in ([None], [None, None], []))
        self._write = _graph(self._prefill_step, tokens, tokens, tokens)
        self._step = _graph(self._decode_step, rows, scalar)
        self._compiled_write, self._compiled_step = _program(self._write), _program(self._step)
        self._row_counts = [*(2**i for i in range(num_slots.bit_length()) if 2**i < num_slots), num_slots]
        self._compilation = Compilation(self._trials()) if compile else None

    def prefill(self, pieces: Sequence[PromptPiece]) -> None:
        """Write the keys and values of up to `prefill_chunk` prompt tokens, of one prompt or several."""
        compiled = self._ready("prefill")
        write = self._compiled_write if compiled else self._write if self._traced() else self._prefill_step
        for piece in pieces:
            tokens = len(piece.token_ids)
            padding = PREFILL_CHUNK - tokens if compiled else 0
            assert padding >= 0, "a piece is longer than prefill_chunk"
            token_ids = [*piece.token_ids, *[0] * padding]
            slots = [piece.slot] * tokens + [self._scratch] * padding
            positions = [*range(piece.position, piece.position + tokens), *[0] * padding]
            write(*(tf.constant([numbers]) for numbers in (token_ids, slots, positions)))

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one slot's keys and values to another slot."""
        for cache in (*self._keys, *self._values):
            cache.copy(source, target, length)

    def admit(
        self, slot: int, prompt_ids: Sequence[int], params: SamplingParams, sample_index: int = 0
    ) -> Reproducible:
        """Make a prefilled slot ready to decode; the answer says what its seed is good for."""
        row = state_row(
            params,
            prompt_ids=prompt_ids,
            sample_index=sample_index,
            eos_token_ids=self.eos_token_ids,
            like=self._state,
        )
        for field in fields(SamplingState):
            getattr(self._state, field.name).scatter_nd_update([[slot]], getattr(row, field.name))
        self._last_token.scatter_nd_update([[slot]], [prompt_ids[-1]])
        self._position.scatter_nd_update([[slot]], [len(prompt_ids) - 1])
        self._params[slot] = params
        return "noise"

    def decode(self, slots: Sequence[int]) -> Decoded:
        """Feed each slot's last token, draw its next one, and move it on by one position."""
        params = [self._params[slot] for slot in slots]
        processes = any(row.processes for row in params)
        variant = VARIANTS.index((processes, processes or any(row.truncates for row in params)))
        before = [
            self._row(slot, asked) if asked.measures or asked.logprobs is not None else None
            for slot, asked in zip(slots, params, strict=True)
        ]
        num_rows = self._compiled_rows(len(slots))
        step = self._compiled_step if num_rows else self._step if self._traced() else self._decode_step
        padding = 0 if num_rows is None else num_rows - len(slots)
        drawn, finite, logits, kept = step(tf.constant([*slots, *[self._scratch] * padding]), tf.constant(variant))
        token_ids = drawn.numpy()[: len(slots)].tolist()
        logprobs = [
            None if state is None else _describe(asked, row, logits, state, kept, token_ids[row])
            for row, (asked, state) in enumerate(zip(params, before, strict=True))
        ]
        measures = [
            _measure(row, logits, state, kept, token_ids[row]) if state is not None and asked.measures else None
            for row, (asked, state) in enumerate(zip(params, before, strict=True))
        ]
        return Decoded(token_ids, finite.numpy()[: len(slots)].tolist(), logprobs, measures)

    def logits(self, slot: int) -> Sequence[float]:
        """Return the raw next-token logits of an admitted slot, drawing nothing and moving nothing."""
        logits: list[float] = self._forward(tf.constant([slot])).numpy()[0].tolist()
        return logits

    def release(self, slot: int) -> None:
        """End a slot's sequence; its keys and values may stay, if finite, until the next one overwrites them."""
        self._params.pop(slot, None)  # what is left in the cache is never read

    @property
    def compiled_share(self) -> float:
        """Return the share of the programs that are compiled, 0 to 1."""
        return 0.0 if self._compilation is None else self._compilation.share

    def wait_until_compiled(self, timeout_s: float | None = None) -> bool:
        """Wait for the compiled programs, and say whether they have taken over; for benchmarks and tests."""
        return self._compilation is not None and self._compilation.wait(timeout_s)

    def close(self) -> None:
        """Stop background work and free the device's memory."""
        if self._compilation is not None:
            self._compilation.close()
        del self._write, self._step, self._compiled_write, self._compiled_step
        self._keys.clear()
        self._values.clear()

    def _prefill_step(self, token_ids: Tensor, slots: Tensor, positions: Tensor) -> None:
        """Write the keys and values of a piece, all int32 [rows, tokens]."""
        self._decoder.forward(token_ids, slots, positions, self._keys, self._values)

    def _decode_step(self, slots: Tensor, variant: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Feed each row's last token, sample its next one, and move the row on.

        Args:
            slots: int32 [rows].
            variant: index into VARIANTS, int32 []; what none of the rows asks for is not computed.

        Returns:
            Token ids int32 [rows], finite bool [rows], raw logits float32 [rows, vocab], and the fields of `Kept`.
        """
        logits = self._forward(slots)
        draws = [partial(self._draw, slots, logits, *flags) for flags in VARIANTS]
        token_ids, finite, *kept = tf.switch_case(variant, draws)
        moves = tf.cast(slots < self._scratch, tf.int32)
        self._last_token.scatter_nd_update(slots[:, None], token_ids)
        self._position.scatter_nd_add(slots[:, None], moves)
        self._state.step.scatter_nd_add(slots[:, None], moves)
        return token_ids, finite, logits, tuple(kept)

    def _forward(self, slots: Tensor) -> Tensor:
        last_token, position = tf.gather(self._last_token, slots), tf.gather(self._position, slots)
        inputs = last_token[:, None], slots[:, None], position[:, None]
        return self._decoder.logits(self._decoder.forward(*inputs, self._keys, self._values))

    def _draw(self, slots: Tensor, logits: Tensor, processes: bool, truncates: bool) -> tuple[Tensor, ...]:
        state = self._state.take(slots, processes=processes, truncates=truncates)
        sampled = sample(logits, state, processes=processes, truncates=truncates)
        if processes:
            history = append(state.history, sampled.token_ids)
            for field in fields(History):
                getattr(self._state, field.name).scatter_nd_update(slots[:, None], getattr(history, field.name))
        return sampled.token_ids, sampled.finite, *(getattr(sampled.kept, field.name) for field in fields(Kept))

    def _ready(self, name: str | int) -> bool:
        return self._compilation is not None and self._compilation.ready(name)

    def _traced(self) -> bool:
        """Say whether to run graphs: once they are made in the background, or at any time where that is not done.

        To make them takes seconds, in which the first requests are better off without.
        """
        return self._compilation is None or self._compilation.ready("graphs")

    def _compiled_rows(self, count: int) -> int | None:
        """Return the rows of the smallest compiled step that has room for this many, or None where there is none."""
        return next((rows for rows in self._row_counts if rows >= count and self._ready(rows)), None)

    def _trials(self) -> dict[str | int, Callable[[], object]]:
        """Make trial runs of all programs; they write to the scratch slot and nowhere else."""
        *smaller, largest = self._row_counts
        piece, variant = tf.zeros([1, PREFILL_CHUNK], tf.int32), tf.constant(0)
        prompt = piece, piece + self._scratch, piece

        def trace() -> None:
            self._write(*prompt)
            self._step(tf.constant([self._scratch]), variant)

        trials: dict[str | int, Callable[[], object]] = {"graphs": trace}
        trials["prefill"] = partial(self._compiled_write, *prompt)
        for rows in (*smaller[:1], largest, *smaller[1:]):  # the largest has room for all that are not compiled yet
            trials[rows] = partial(self._compiled_step, tf.fill([rows], self._scratch), variant)
        return trials

    def _neutral_state(self) -> SamplingState:
        state = neutral_state(self.num_slots + 1, self.vocab_size, len(self.eos_token_ids), self.max_length)
        return SamplingState(*(tf.Variable(getattr(state, f.name), trainable=False) for f in fields(state)))

    def _row(self, slot: int, params: SamplingParams) -> SamplingState:
        """Bring one row of the state to the host."""
        picked = self._state.take(tf.constant([slot]), processes=params.processes, truncates=False)
        return SamplingState(*(getattr(picked, field.name).numpy() for field in fields(picked)))


def _graph(function: Callable[..., Any], *signature: tf.TensorSpec) -> Any:
    """Trace a function when it is first called, once for all shapes of its arguments."""
    return tf.function(function, input_signature=signature, autograph=False)


def _program(graph: Callable[..., Any]) -> Any:
    """Have XLA compile a graph, once for each shape of its arguments."""
    return tf.function(lambda *inputs: graph(*inputs), jit_compile=True, autograph=False)


def _describe(
    params: SamplingParams, row: int, logits: Tensor, state: SamplingState, kept: Sequence[Tensor], token_id: int
) -> TokenLogprobs | None:
    """Describe the draw of one row on the host, if its parameters ask for it."""
    if params.logprobs is None:
        return None
    mine = Kept(*(np.asarray(field[row : row + 1]) for field in kept))
    return token_logprobs(logits[row].numpy(), state, mine, token_id, params.logprobs, params.logprobs_mode)


def _measure(row: int, logits: Tensor, state: SamplingState, kept: Sequence[Tensor], token_id: int) -> TokenMeasures:
    """Measure the draw of one row on the host."""
    mine = Kept(*(np.asarray(field[row : row + 1]) for field in kept))
    raw = logits[row : row + 1].numpy()
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # inf is far away, and NaN is a row that failed
        processed = process(raw, state) if len(state.allowed) else raw
        return TokenMeasures(
            *measure(raw, processed, mine, state.temperature, np.array([token_id], np.int32))[0].tolist()
        )


def pick_dtype(dtype: str, device: str) -> tf.DType:
    """Return TensorFlow's type for a name; `auto` is bfloat16 on a GPU, else float32."""
    if dtype != "auto":
        return tf.as_dtype(dtype)
    return tf.float32 if device == "cpu" else tf.bfloat16
