"""TorchBackend: a decoder's weights, its KV slots, and its decode-and-sample step in torch."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from samplers.params import SamplingParams
from server.backends import torch_plain
from server.backends.base import Decoded, PromptPiece, Reproducible
from server.backends.quantization import Quantization, require_supported
from server.backends.torch_cache import Caches
from server.backends.torch_compile import Compilation, Function, Program
from server.backends.torch_cuda import CudaOperators, pick_attention
from server.backends.torch_decoder import Decoder
from server.backends.torch_devices import capability_of, pick_device, pick_dtype
from server.backends.torch_direct import DirectDecoding
from server.backends.torch_graphs import GraphCounts, Record, recorder_of
from server.backends.torch_kernels import kernels_fit, load_kernels
from server.backends.torch_sampler import Sampler, dynamic
from server.backends.torch_static import StaticDecoding, pick_max_steps
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights

Tensor = torch.Tensor

SCRATCH_SLOTS = 2  # beyond the slots of requests, for the compiler's trial runs
PREFILL_CHUNK = 256  # tokens of one prefill call: enough to keep the matrix products busy, short enough to wait for
PREFILL_LEAST = 12  # rows that the product keeps in registers: fewer take as long


class TorchBackend:
    """Runs a decoder over fixed slots; see `Backend` for what each method promises.

    On CPU with Kelvin's kernels a row's logits are the same bits whatever else is in the batch, from the first token
    on: all blocks are one operator, and nothing is compiled at run time. On CUDA decoding starts in eager mode; a
    step compiled in the background takes over when it is ready, and then steps are graphs over static arrays (see
    `StaticDecoding`).
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
            compile: whether to compile the decode step in the background; of no matter on CPU.
            threads: CPU threads; 0 leaves torch's own choice.
            cache_dir: keeps kernels, and compiled steps, from one start to the next.
            quantization: of weight matrices; int8 on CPU alone.

        Raises:
            ModelError: the device is not there, or does not multiply such weights.
        """
        if threads:
            torch.set_num_threads(threads)
        self._device = pick_device(device)
        self._dtype = pick_dtype(dtype, self._device)
        self.device, self.dtype = str(self._device), str(self._dtype).removeprefix("torch.")
        self.quantization = require_supported(quantization, "torch", self._device.type)
        self.vocab_size, self.eos_token_ids = spec.vocab_size, spec.eos_token_ids
        self.num_slots, self.max_length = num_slots, min(max_length, spec.context_length)
        self.prefill_chunk, self.prefill_least = PREFILL_CHUNK, PREFILL_LEAST
        record = recorder_of(self._device)
        self._fused = self._device.type == "cpu" and kernels_fit(spec) and load_kernels(cache_dir)
        placed = {"dtype": self._dtype, "device": self._device, "max_length": self.max_length}
        operators = self._operators(spec, cuda=record is not None)
        self._decoder = Decoder(spec, weights, operators=operators, quantization=quantization, **placed)
        kinds = {"position_by_position": record is not None, "shares": self._fused}
        self._caches = Caches(spec, num_slots=num_slots + SCRATCH_SLOTS, **kinds, **placed)
        self._decoder.prefixes = self._caches.prefixes
        self._sampler = self._make_sampler()
        self._decoding = self._make_decoding(record)
        self.max_steps, self.sampler_seconds = self._decoding.max_steps, self._decoding.sampler_seconds
        self._reader = self._decoder  # of prompts
        if record is not None:  # by operators that know their pieces, beside those of a step that may be compiling
            self._reader = copy.copy(self._decoder)
            self._reader.operators = copy.copy(operators)
        self._params: dict[int, SamplingParams] = {}
        self._poisoned: set[int] = set()
        self._compilation: Compilation | None = None
        if compile and record is not None:
            self._compilation = Compilation(self._programs(), cache_dir=cache_dir, device=self._device)

    def prefill(self, pieces: Sequence[PromptPiece]) -> None:
        """Write the keys and values of up to `prefill_chunk` prompt tokens, of one prompt or several."""
        for piece in pieces:
            self._caches.write_from(piece.slot, piece.position)
        token_ids = [token_id for piece in pieces for token_id in piece.token_ids]
        slots = [piece.slot for piece in pieces for _ in piece.token_ids]
        positions = [piece.position + i for piece in pieces for i in range(len(piece.token_ids))]
        with torch.no_grad():
            if isinstance(self._reader.operators, CudaOperators):
                self._reader.operators.read(pieces, self._device)
            self._reader(*map(self._indices, (token_ids, slots, positions)), self._caches.keys, self._caches.values)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a slot begin with the first `length` positions of another one's keys and values."""
        with torch.no_grad():
            self._caches.copy(source, target, length)

    def admit(
        self, slot: int, prompt_ids: Sequence[int], params: SamplingParams, sample_index: int = 0
    ) -> Reproducible:
        """Make a prefilled slot ready to decode; the answer says what its seed is good for."""
        self._caches.write_from(slot, len(prompt_ids) - 1)
        with torch.no_grad():
            self._sampler.admit(slot, prompt_ids, params, sample_index)
            self._decoding.admit(slot, prompt_ids, params)
        self._params[slot] = params
        return "bitwise" if self._fused else "noise"

    def decode(self, slots: Sequence[int]) -> Decoded:
        """Feed each slot's last token, draw its next one, and move it on by one position."""
        return self.decode_steps(slots, 1)[0]

    def decode_steps(self, slots: Sequence[int], num_steps: int) -> list[Decoded]:
        """Decode up to so many times in one call; on CPU no call draws more than once."""
        assert 1 <= num_steps <= self.max_steps
        with torch.no_grad():
            steps = self._decoding.decode_steps(slots, [self._params[slot] for slot in slots], num_steps)
        self._poisoned.update(slot for step in steps for slot, fine in zip(slots, step.finite, strict=True) if not fine)
        return steps

    def logits(self, slot: int) -> Sequence[float]:
        """Return the raw next-token logits of an admitted slot, drawing nothing and moving nothing."""
        with torch.no_grad():
            rows = self._indices([slot])
            last_token, position = self._decoding.last_token[rows], self._decoding.position[rows]
            return forward(last_token, rows, position, *self._model)[0].tolist()

    def release(self, slot: int) -> None:
        """End a slot's sequence; its keys and values may stay, if finite, until the next one overwrites them."""
        self._params.pop(slot, None)
        if slot in self._poisoned:  # finite leftovers are never read; NaN would survive a weight of zero
            self._poisoned.discard(slot)
            with torch.no_grad():
                self._caches.wipe(slot)

    @property
    def compiled_share(self) -> float:
        """Return how much of the decode step is compiled, 0 or 1: programs take over together, kernels always were."""
        return float(self._fused or (self._compilation is not None and self._compilation.ready))

    @property
    def compile_events(self) -> Mapping[str, int]:
        """Count what has come of compiling, by name of COMPILE_EVENTS."""
        return {} if self._compilation is None else self._compilation.events

    @property
    def unmoved(self) -> bool:
        """Say, after a decode that raised, whether every slot stands where it stood."""
        return self._decoding.unmoved

    def wait_until_compiled(self, timeout_s: float | None = None) -> bool:
        """Wait for the compiled step, and say whether it has taken over; for benchmarks and tests."""
        return self._fused or (self._compilation is not None and self._compilation.wait(timeout_s))

    @property
    def graph_counts(self) -> GraphCounts:
        """Return how many decode steps replayed a CUDA graph and how many did not; any thread may ask."""
        return self._decoding.counts

    def close(self) -> None:
        """Stop background work and free the device's memory."""
        if self._compilation is not None:
            self._compilation.close()
        self._decoding.close()
        self._caches.close()

    @property
    def _model(self) -> tuple[Decoder, list[Tensor], list[Tensor]]:
        return self._decoder, self._caches.keys, self._caches.values

    def _operators(self, spec: DecoderSpec, *, cuda: bool) -> Any:
        if cuda:
            return CudaOperators(pick_attention(spec, self._dtype, capability_of(self._device)))
        return torch.ops.kelvin if self._fused else torch_plain

    def _make_sampler(self) -> Sampler:
        return Sampler(
            num_slots=self.num_slots,
            scratch=range(self.num_slots, self.num_slots + SCRATCH_SLOTS),
            vocab_size=self.vocab_size,
            eos_token_ids=self.eos_token_ids,
            max_length=self.max_length,
            device=self._device,
        )

    def _make_decoding(self, record: Record | None) -> DirectDecoding | StaticDecoding:
        if record is None:
            return DirectDecoding(
                self._forward, self._sampler, num_slots=self.num_slots, device=self._device, run=self._run
            )
        return StaticDecoding(
            self._forward,
            self._sampler,
            num_slots=self.num_slots,
            eos_token_ids=self.eos_token_ids,
            device=self._device,
            record=record,
            run=self._run,
            settled=lambda: self._compilation is None or self._compilation.settled,
            max_steps=pick_max_steps(sum(weight.nbytes for weight in self._decoder.parameters())),
        )

    def _forward(self, token_ids: Tensor, slots: Tensor, positions: Tensor) -> Tensor:
        """Return raw logits, float32 [rows, vocab], by the compiled program once there is one."""
        logits: Tensor = self._run(forward, token_ids, slots, positions, *self._model)
        return logits

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
