"""TensorFlowBackend: a decoder's weights, its KV slots, and its decode-and-sample step in TensorFlow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from samplers.kept import Kept
from samplers.params import SamplingParams
from server.backends import tensorflow_calls, tensorflow_packed, tensorflow_plain
from server.backends.base import Decoded, PromptPiece, Reproducible
from server.backends.quantization import Quantization, require_supported
from server.backends.tensorflow_cache import Cache
from server.backends.tensorflow_compile import Compilation, graph, program
from server.backends.tensorflow_decoder import Decoder
from server.backends.tensorflow_kernels import kernels_fit, load_kernels
from server.backends.tensorflow_process import pick_dtype, settle_process
from server.backends.tensorflow_sampler import Sampler, advance_row, describe, described, measure_row, pick_variant
from server.backends.tensorflow_steps import Sequences, pick_max_steps, run_steps
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights

Tensor = Any

ROW_COUNTS = 1, *(2**i for i in range(3, 16))  # of programs; few rows take as long as 8, which wait for the weights too
PREFILL_CHUNK = 64  # tokens of one prefill program, which a shorter piece pays for in full


class TensorFlowBackend:
    """Runs a decoder over fixed slots; see `Backend` for what each method promises.

    Everything that differs from request to request lies in variables or is an argument, so that a program depends on
    nothing but the number of rows, which is rounded up. The rows that fill it up run in a slot that nobody reads. XLA
    may add up otherwise in a program for more rows, so that a seed promises its noise and not the bits of the logits.
    """

    framework = "tensorflow"
    sampler_seconds = None  # forward and sampler are one program

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
        max_steps: int = 0,
        cache_dir: Path,
        quantization: Quantization = "none",
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
            max_steps: of one call; 0 chooses by how long a step takes on this device.
            cache_dir: keeps compiled programs from one start to the next.
            quantization: none; nothing else is supported here.

        Raises:
            ModelError: the device is not there, or weights are to be quantised.
        """
        self.quantization = require_supported(quantization, "tensorflow", device)
        self.device = settle_process(device, threads, cache_dir)
        self._dtype = pick_dtype(dtype, self.device)
        self.dtype = self._dtype.name
        self.vocab_size, self.eos_token_ids = spec.vocab_size, spec.eos_token_ids
        self.num_slots, self.max_length = num_slots, min(max_length, spec.context_length)
        self.prefill_chunk = self.prefill_least = PREFILL_CHUNK
        packed = kernels_fit(self._dtype, self.device) and load_kernels(cache_dir)
        operators = tensorflow_packed if packed else tensorflow_plain
        self._decoder = Decoder(spec, weights, operators=operators, dtype=self._dtype, max_length=self.max_length)
        self._scratch = num_slots  # one slot more than there are requests
        shape = num_slots + 1, spec.num_kv_heads, self.max_length, spec.head_dim
        self._keys = [Cache(*shape, self._dtype) for _ in range(spec.num_layers)]
        self._values = [Cache(*shape, self._dtype) for _ in range(spec.num_layers)]
        self._sampler = Sampler(
            num_slots=num_slots + 1,
            vocab_size=self.vocab_size,
            eos_token_ids=self.eos_token_ids,
            max_length=self.max_length,
        )
        self._sequences = Sequences(num_slots + 1, self.eos_token_ids)
        self.max_steps = max_steps or pick_max_steps(self._decoder.num_bytes, self.device)
        self._params: dict[int, SamplingParams] = {}
        self._moved = False
        self._eager_write, self._eager_steps = self._functions(self._decoder)
        self._write, self._steps = self._graphs(self._decoder)
        write, steps = self._write, self._steps
        if packed:  # operators that XLA alone can run, and that its programs alone have
            write, steps = self._graphs(self._decoder.with_operators(tensorflow_calls))
        self._compiled_write, self._compiled_steps = program(write), program(steps)
        self._row_counts = [rows for rows in ROW_COUNTS if rows < num_slots] + [num_slots]
        self._compilation = Compilation(self._trials()) if compile else None

    def prefill(self, pieces: Sequence[PromptPiece]) -> None:
        """Write the keys and values of up to `prefill_chunk` prompt tokens, of one prompt or several."""
        compiled = self._ready("prefill")
        write = self._compiled_write if compiled else self._write if self._traced() else self._eager_write
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
        self._sampler.admit(slot, prompt_ids, params, sample_index)
        self._sequences.admit(slot, prompt_ids, params)
        self._params[slot] = params
        return "noise"

    def decode(self, slots: Sequence[int]) -> Decoded:
        """Feed each slot's last token, draw its next one, and move it on by one position."""
        return self.decode_steps(slots, 1)[0]

    def decode_steps(self, slots: Sequence[int], num_steps: int) -> list[Decoded]:
        """Decode up to so many times in one call, while any row has not ended."""
        assert 1 <= num_steps <= self.max_steps
        params = [self._params[slot] for slot in slots]
        rows = [
            (row, asked, self._sampler.take(slot, asked))
            for row, (slot, asked) in enumerate(zip(slots, params, strict=True))
            if described(asked)
        ]
        compiled_rows = self._compiled_rows(len(slots))
        steps = self._compiled_steps if compiled_rows else self._steps if self._traced() else self._eager_steps
        padding = 0 if compiled_rows is None else compiled_rows - len(slots)
        numbers = [*slots, *[self._scratch] * padding]
        arguments = (tf.constant(number) for number in (numbers, pick_variant(params), num_steps))
        self._moved = not compiled_rows  # a program that fails has written nothing, but single operations may have
        num_drawn, token_ids, finite, logits, *kept = steps(*arguments)
        self._moved = True
        token_ids, finite = token_ids.numpy()[:, : len(slots)].tolist(), finite.numpy()[:, : len(slots)].tolist()
        decoded = []
        for number in range(int(num_drawn)):
            step = Decoded(token_ids[number], finite[number], [None] * len(slots), [None] * len(slots))
            for place, (row, asked, state) in enumerate(rows):
                own = logits[number, row : row + 1].numpy()
                span = Kept(*(field[number, row : row + 1].numpy() for field in kept))
                step.logprobs[row] = describe(asked, own, state, span, step.token_ids[row])
                step.measures[row] = measure_row(asked, own, state, span, step.token_ids[row])
                rows[place] = row, asked, advance_row(state, step.token_ids[row])
            decoded.append(step)
        return decoded

    def logits(self, slot: int) -> Sequence[float]:
        """Return the raw next-token logits of an admitted slot, drawing nothing and moving nothing."""
        logits: list[float] = self._forward(self._decoder, tf.constant([slot])).numpy()[0].tolist()
        return logits

    def release(self, slot: int) -> None:
        """End a slot's sequence; its keys and values may stay, if finite, until the next one overwrites them."""
        self._params.pop(slot, None)  # what is left in the cache is never read

    @property
    def compiled_share(self) -> float:
        """Return the share of the programs that are compiled, 0 to 1."""
        return 0.0 if self._compilation is None else self._compilation.share

    @property
    def compile_events(self) -> Mapping[str, int]:
        """Count what has come of compiling, by name of COMPILE_EVENTS."""
        return {} if self._compilation is None else self._compilation.events

    @property
    def unmoved(self) -> bool:
        """Say, after a decode that raised, whether every slot stands where it stood."""
        return not self._moved

    def wait_until_compiled(self, timeout_s: float | None = None) -> bool:
        """Wait for the compiled programs, and say whether they have taken over; for benchmarks and tests."""
        return self._compilation is not None and self._compilation.wait(timeout_s)

    def close(self) -> None:
        """Stop background work and free the device's memory."""
        if self._compilation is not None:
            self._compilation.close()
        del self._write, self._steps, self._compiled_write, self._compiled_steps
        self._keys.clear()
        self._values.clear()

    def _functions(self, decoder: Decoder) -> tuple[Callable[..., None], Callable[..., tuple[Tensor, ...]]]:
        """Return what writes a piece and what decodes, with this decoder."""
        return partial(self._prefill_step, decoder), partial(self._decode_steps, decoder)

    def _graphs(self, decoder: Decoder) -> tuple[Any, Any]:
        """Return graphs of the same, for any number of rows."""
        rows, tokens, scalar = (tf.TensorSpec(shape, tf.int32) for shape in ([None], [None, None], []))
        write, steps = self._functions(decoder)
        return graph(write, tokens, tokens, tokens), graph(steps, rows, scalar, scalar)

    def _prefill_step(self, decoder: Decoder, token_ids: Tensor, slots: Tensor, positions: Tensor) -> None:
        """Write the keys and values of a piece, all int32 [rows, tokens]."""
        decoder.forward(token_ids, slots, positions, self._keys, self._values)

    def _decode_steps(self, decoder: Decoder, slots: Tensor, variant: Tensor, num_steps: Tensor) -> tuple[Tensor, ...]:
        """Feed each row's last token, draw its next one and move on, up to `num_steps` times.

        Args:
            decoder: with the operators to use.
            slots: int32 [rows].
            variant: of the sampler, int32 [].
            num_steps: int32 [].

        Returns:
            How many steps were drawn, int32 []; then, each [max_steps, rows, …], token ids int32, finite bool, raw
            logits float32, and the fields of `Kept`.
        """
        number = tf.TensorSpec([1], tf.float32)
        leaves = [tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool), tf.TensorSpec([self.vocab_size], tf.float32)]
        leaves += [number] * len(fields(Kept))
        return run_steps(
            lambda rows: self._decode_step(decoder, rows, variant),
            slots,
            self._scratch,
            num_steps,
            self.max_steps,
            leaves,
        )

    def _decode_step(self, decoder: Decoder, slots: Tensor, variant: Tensor) -> tuple[Tensor, ...]:
        logits = self._forward(decoder, slots)
        token_ids, finite, *kept = self._sampler.draw(logits, slots, variant)
        moves = tf.cast(slots < self._scratch, tf.int32)
        self._sampler.move_on(slots, moves)
        goes_on = self._sequences.move_on(slots, token_ids, moves)
        return goes_on & finite, token_ids, finite, logits, *kept

    def _forward(self, decoder: Decoder, slots: Tensor) -> Tensor:
        last_token, position = self._sequences.stand(slots)
        inputs = last_token[:, None], slots[:, None], position[:, None]
        return decoder.logits(decoder.forward(*inputs, self._keys, self._values))

    def _ready(self, name: str | int) -> bool:
        return self._compilation is not None and self._compilation.ready(name)

    def _traced(self) -> bool:
        """Say whether to run graphs: where no programs come that would take over before a graph has paid for itself."""
        return self._compilation is None or self._compilation.failed

    def _compiled_rows(self, count: int) -> int | None:
        """Return the rows of the smallest compiled step that has room for this many, or None where there is none."""
        return next((rows for rows in self._row_counts if rows >= count and self._ready(rows)), None)

    def _trials(self) -> dict[str | int, Callable[[], object]]:
        """Make trial runs of all programs; they write to the scratch slot and nowhere else."""
        *smaller, largest = self._row_counts
        piece, plain, once = tf.zeros([1, PREFILL_CHUNK], tf.int32), tf.constant(0), tf.constant(1)
        prompt = piece, piece + self._scratch, piece

        trials: dict[str | int, Callable[[], object]] = {"prefill": partial(self._compiled_write, *prompt)}
        for rows in (*smaller[:1], largest, *smaller[1:]):  # the largest has room for all that are not compiled yet
            trials[rows] = partial(self._compiled_steps, tf.fill([rows], self._scratch), plain, once)
        return trials
