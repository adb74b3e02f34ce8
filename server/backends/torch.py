"""TorchBackend: a decoder's weights, its KV slots, and its decode-and-sample step in torch."""

import copy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from samplers.params import SamplingParams
from server.backends import torch_plain
from server.backends.base import SAMPLER_SECONDS, Decoded, PromptPiece, Reproducible
from server.backends.quantization import Quantization, require_supported
from server.backends.torch_compile import Compilation, Function, Program
from server.backends.torch_cuda import CudaOperators, pick_attention
from server.backends.torch_decoder import Decoder
from server.backends.torch_devices import capability_of, pick_device, pick_dtype
from server.backends.torch_graphs import GraphCounts, Record, recorder_of
from server.backends.torch_kernels import kernels_fit, load_kernels
from server.backends.torch_sampler import Sampler, describe, dynamic, measure_rows
from server.backends.torch_static import StaticDecoding, pick_max_steps
from server.histogram import Histogram
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights

Tensor = torch.Tensor

SCRATCH_SLOTS = 2  # beyond the slots of requests, for the compiler's trial runs
_TILE = 16  # positions of the cache that the kernels keep together
PREFILL_CHUNK = 256  # tokens of one prefill call: enough to keep the matrix products busy, short enough to wait for
PREFILL_LEAST = 12  # rows that the product keeps in registers: fewer take as long


class TorchBackend:
    """Runs a decoder over fixed slots; see `Backend` for what each method promises.

    On CPU with Kelvin's kernels a row's logits are the same bits whatever else is in the batch. Decoding starts in
    eager mode; a step compiled in the background takes over when it is ready. Both run the same kernels; the sampler's
    logarithms may differ in their last bit, so a sequence that began before the change is only promised its noise.
    On CUDA, steps are graphs over static arrays (see `StaticDecoding`), recorded once compiling has ended.
    """

    framework = "torch"

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
        quantization: Quantization = "none",
    ) -> None:
        """Load a model onto a device.

        Args:
            spec: the decoder's shape.
            weights: its arrays.
            dtype: of weights and cache; auto is bfloat16 on CUDA and on CPUs that multiply it, else float32.
            device: `auto`, `cpu`, `cuda` or `cuda:N`; auto is CUDA where it is there.
            num_slots: sequences held at once.
            max_length: positions of a slot; no more than the model was made for.
            compile: whether to compile the decode step in the background.
            threads: CPU threads; 0 leaves torch's own choice.
            cache_dir: keeps kernels and compiled steps from one start to the next.
            quantization: of weight matrices; int8 on CPU alone.

        Raises:
            ModelError: the device is not there, or does not multiply such weights.
        """
        if threads:
            torch.set_num_threads(threads)
        self._device = pick_device(device)
        self._dtype = pick_dtype(dtype, self._device)
        self._record = recorder_of(self._device)
        self.quantization = require_supported(quantization, "torch", self._device.type)
        self.device, self.dtype = str(self._device), str(self._dtype).removeprefix("torch.")
        self.vocab_size, self.eos_token_ids = spec.vocab_size, spec.eos_token_ids
        self.num_slots, self.max_length = num_slots, min(max_length, spec.context_length)
        self.prefill_chunk, self.prefill_least = PREFILL_CHUNK, PREFILL_LEAST
        self._fused = self._device.type == "cpu" and kernels_fit(spec) and load_kernels(cache_dir)
        self._decoder = Decoder(
            spec,
            weights,
            operators=self._operators(spec),
            dtype=self._dtype,
            device=self._device,
            max_length=self.max_length,
            quantization=quantization,
        )
        self._reader = self._decoder  # of prompts
        num_rows = num_slots + SCRATCH_SLOTS
        self._keys, self._values = ([self._cache(num_rows, spec) for _ in range(spec.num_layers)] for _ in range(2))
        self._sampler = Sampler(
            num_slots=num_slots,
            scratch=range(num_slots, num_rows),
            vocab_size=self.vocab_size,
            eos_token_ids=self.eos_token_ids,
            max_length=self.max_length,
            device=self._device,
        )
        self._static: StaticDecoding | None = None
        self.max_steps = 1  # what a call costs beside its kernels is little on CPU
        if self._record is not None:
            self._static = self._static_decoding(self._record)
            self.max_steps = pick_max_steps(sum(weight.nbytes for weight in self._decoder.parameters()))
            self._last_token, self._position = self._static.last_token, self._static.position
        else:
            self._last_token = torch.zeros(num_rows, dtype=torch.int64, device=self._device)
            self._position = torch.zeros(num_rows, dtype=torch.int64, device=self._device)
        self._params: dict[int, SamplingParams] = {}
        self._poisoned: set[int] = set()
        self._moved = False
        self.sampler_seconds = Histogram(SAMPLER_SECONDS) if self._static is None else None
        self._compilation: Compilation | None = None
        if compile and (self._fused or self._device.type == "cuda"):
            self._compilation = Compilation(self._programs(), cache_dir=cache_dir, device=self._device)

    def prefill(self, pieces: Sequence[PromptPiece]) -> None:
        """Write the keys and values of up to `prefill_chunk` prompt tokens, of one prompt or several."""
        token_ids = [token_id for piece in pieces for token_id in piece.token_ids]
        slots = [piece.slot for piece in pieces for _ in piece.token_ids]
        positions = [piece.position + i for piece in pieces for i in range(len(piece.token_ids))]
        with torch.no_grad():
            if isinstance(self._reader.operators, CudaOperators):
                self._reader.operators.read(pieces, self._device)
            self._reader(*map(self._indices, (token_ids, slots, positions)), self._keys, self._values)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one slot's keys and values to another slot."""
        with torch.no_grad():
            for cache in (*self._keys, *self._values):
                cache[target, :, : whole_tiles(length)] = cache[source, :, : whole_tiles(length)]

    def admit(
        self, slot: int, prompt_ids: Sequence[int], params: SamplingParams, sample_index: int = 0
    ) -> Reproducible:
        """Make a prefilled slot ready to decode; the answer says what its seed is good for."""
        with torch.no_grad():
            self._sampler.admit(slot, prompt_ids, params, sample_index)
            if self._static is not None:
                self._static.admit(slot, prompt_ids, params)
            self._last_token[slot] = prompt_ids[-1]
            self._position[slot] = len(prompt_ids) - 1
        self._params[slot] = params
        settled = self._compilation is None or self._compilation.settled
        return "bitwise" if self._fused and settled else "noise"

    def decode(self, slots: Sequence[int]) -> Decoded:
        """Feed each slot's last token, draw its next one, and move it on by one position."""
        if self._static is not None:
            return self.decode_steps(slots, 1)[0]
        self._moved = False
        params = [self._params[slot] for slot in slots]
        with torch.no_grad():
            rows = self._indices(slots)
            logits = self._run(forward, self._last_token[rows], rows, self._position[rows], *self._model)
            started_s = time.perf_counter()
            state = self._sampler.take(slots, params)
            processed = self._sampler.process(logits, state, self._run)
            sampled = self._sampler.draw(processed, state, self._run)
            if self.sampler_seconds is not None:
                self.sampler_seconds.add(time.perf_counter() - started_s)
            logprobs = [describe(asked, row, logits, state, sampled) for row, asked in enumerate(params)]
            measures = measure_rows(params, logits, processed, state, sampled)
            self._moved = True
            self._sampler.move_on(sampled.token_ids)
            self._last_token[rows] = sampled.token_ids.to(torch.int64)
            self._position[rows] += 1
        finite = sampled.finite.tolist()
        self._poisoned.update(slot for slot, fine in zip(slots, finite, strict=True) if not fine)
        return Decoded(sampled.token_ids.tolist(), finite, logprobs, measures)

    def decode_steps(self, slots: Sequence[int], num_steps: int) -> list[Decoded]:
        """Decode up to so many times in one call; on CPU no call draws more than once."""
        assert 1 <= num_steps <= self.max_steps
        if self._static is None:
            return [self.decode(slots)]
        self._moved = True  # what has been started cannot be called back
        with torch.no_grad():
            steps = self._static.decode_steps(slots, [self._params[slot] for slot in slots], num_steps)
        self._poisoned.update(slot for step in steps for slot, fine in zip(slots, step.finite, strict=True) if not fine)
        return steps

    def logits(self, slot: int) -> Sequence[float]:
        """Return the raw next-token logits of an admitted slot, drawing nothing and moving nothing."""
        with torch.no_grad():
            rows = self._indices([slot])
            x = self._decoder(self._last_token[rows], rows, self._position[rows], self._keys, self._values)
            return self._decoder.logits(x)[0].tolist()

    def release(self, slot: int) -> None:
        """End a slot's sequence; its keys and values may stay, if finite, until the next one overwrites them."""
        self._params.pop(slot, None)
        if slot in self._poisoned:  # finite leftovers are never read; NaN would survive a weight of zero
            self._poisoned.discard(slot)
            with torch.no_grad():
                for cache in (*self._keys, *self._values):
                    cache[slot] = 0

    @property
    def compiled_share(self) -> float:
        """Return how much of the decode step is compiled, 0 or 1: its programs take over together."""
        return float(self._compilation is not None and self._compilation.ready)

    @property
    def compile_events(self) -> Mapping[str, int]:
        """Count what has come of compiling, by name of COMPILE_EVENTS."""
        return {} if self._compilation is None else self._compilation.events

    @property
    def unmoved(self) -> bool:
        """Say, after a decode that raised, whether every slot stands where it stood."""
        return not self._moved

    def wait_until_compiled(self, timeout_s: float | None = None) -> bool:
        """Wait for the compiled step, and say whether it has taken over; for benchmarks and tests."""
        return self._compilation is not None and self._compilation.wait(timeout_s)

    @property
    def graph_counts(self) -> GraphCounts:
        """Return how many decode steps replayed a CUDA graph and how many did not; any thread may ask."""
        return GraphCounts() if self._static is None else self._static.counts

    def close(self) -> None:
        """Stop background work and free the device's memory."""
        if self._compilation is not None:
            self._compilation.close()
        if self._static is not None:
            self._static.close()
        self._keys.clear()
        self._values.clear()

    @property
    def _model(self) -> tuple[Decoder, list[Tensor], list[Tensor]]:
        return self._decoder, self._keys, self._values

    def _operators(self, spec: DecoderSpec) -> Any:
        if self._record is not None:
            return CudaOperators(pick_attention(spec, self._dtype, capability_of(self._device)))
        return torch.ops.kelvin if self._fused else torch_plain

    def _cache(self, num_rows: int, spec: DecoderSpec) -> Tensor:
        """Return one layer's keys or values: [slots, kv_heads, positions, head_dim], on CUDA position by position."""
        positions, heads = whole_tiles(self.max_length), spec.num_kv_heads
        if self._record is not None:
            shape = num_rows, positions, heads, spec.head_dim
            return torch.zeros(shape, dtype=self._dtype, device=self._device).transpose(1, 2)
        return torch.zeros(num_rows, heads, positions, spec.head_dim, dtype=self._dtype, device=self._device)

    def _static_decoding(self, record: Record) -> StaticDecoding:
        """Return the steps for CUDA."""
        # Prompts are read by a decoder that knows their pieces, beside one that may be compiling.
        self._reader = copy.copy(self._decoder)
        self._reader.operators = copy.copy(self._decoder.operators)
        return StaticDecoding(
            lambda token_ids, slots, positions: self._run(forward, token_ids, slots, positions, *self._model),
            self._sampler,
            num_slots=self.num_slots,
            eos_token_ids=self.eos_token_ids,
            device=self._device,
            record=record,
            run=self._run,
            settled=lambda: self._compilation is None or self._compilation.settled,
        )

    def _run(self, function: Function, *arguments: Any) -> Any:
        return function(*arguments) if self._compilation is None else self._compilation.run(function, *arguments)

    def _programs(self) -> list[Program]:
        """List what decoding runs; their trial runs write to the scratch slots of the cache and nowhere else."""

        def example(slots: Sequence[int]) -> Program:
            rows = self._indices(slots)
            zero = torch.zeros_like(rows)
            return Program(forward, lambda: (*map(dynamic, (zero.clone(), rows, zero.clone())), *self._model))

        scratch = self._sampler.scratch
        # A product with one row takes a quarter less than with two, so that a lone row has programs of its own.
        return [example(scratch), example(scratch[:1]), *self._sampler.programs()]

    def _indices(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=self._device)


def forward(
    token_ids: Tensor, slots: Tensor, positions: Tensor, decoder: Decoder, keys: list[Tensor], values: list[Tensor]
) -> Tensor:
    """Feed each row's last token.

    Args:
        token_ids: int64 [rows].
        slots: int64 [rows].
        positions: int64 [rows].
        decoder: the model.
        keys: one cache a layer; written.
        values: likewise.

    Returns:
        Raw logits, float32 [rows, vocab].
    """
    return decoder.logits(decoder(token_ids, slots, positions, keys, values))


def whole_tiles(positions: int) -> int:
    """Return the positions of the tiles that these positions lie in: the kernels' cache is divided so."""
    return -(-positions // _TILE) * _TILE
