"""TensorFlowBackend: a decoder's weights, its KV slots, and its decode-and-sample step in TensorFlow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from samplers.params import SamplingParams
from server.backends import tensorflow_calls, tensorflow_plain
from server.backends.base import Decoded, PromptPiece, Reproducible
from server.backends.quantization import Quantization, require_supported
from server.backends.tensorflow_cache import Caches
from server.backends.tensorflow_decoder import Decoder
from server.backends.tensorflow_decoding import Decoding
from server.backends.tensorflow_drawn import Described, read_steps
from server.backends.tensorflow_kernels import kernels_fit, load_kernels
from server.backends.tensorflow_process import pick_dtype, settle_process
from server.backends.tensorflow_programs import Programs
from server.backends.tensorflow_sampler import Sampler, pick_variant
from server.backends.tensorflow_shared_cache import SharedCaches
from server.backends.tensorflow_steps import Sequences, pick_max_steps
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights

PREFILL_CHUNK = 64  # tokens of one prefill program, which a shorter piece pays for in full
KERNEL_CHUNK, KERNEL_LEAST = 256, 12  # tokens of a prefill by kernels, as in torch


class TensorFlowBackend:
    """Runs a decoder over fixed slots; see `Backend` for what each method promises.

    Everything that differs from request to request lies in variables or is an argument. On CPU, in float32, all that
    is heavy runs in Kelvin's kernels, in XLA's programs and outside. XLA may add up otherwise in a program for more
    rows, so that a seed promises its noise and not the bits of the logits.
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
        self._fused = kernels_fit(spec, self._dtype, self.device) and load_kernels(cache_dir)
        self.prefill_chunk, self.prefill_least = (
            (KERNEL_CHUNK, KERNEL_LEAST) if self._fused else (PREFILL_CHUNK, PREFILL_CHUNK)
        )
        operators = tensorflow_calls if self._fused else tensorflow_plain
        decoder = Decoder(spec, weights, operators=operators, dtype=self._dtype, max_length=self.max_length)
        self.max_steps = max_steps or pick_max_steps(decoder.num_bytes, self.device)
        self._scratch = num_slots  # one slot more than there are requests
        self._caches = self._make_caches(spec)
        self._sampler = self._make_sampler()
        self._sequences = Sequences(num_slots + 1, self.eos_token_ids)
        parts = decoder, self._caches, self._sampler, self._sequences
        self._decoding = Decoding(*parts, scratch=self._scratch, max_steps=self.max_steps)
        self._params: dict[int, SamplingParams] = {}
        self._poisoned: set[int] = set()
        self._moved = False
        chunk = None if self._fused else PREFILL_CHUNK
        self._programs = Programs(self._decoding, num_slots=num_slots, chunk=chunk, compile=compile)

    def prefill(self, pieces: Sequence[PromptPiece]) -> None:
        """Write the keys and values of up to `prefill_chunk` prompt tokens, of one prompt or several."""
        for piece in pieces:
            self._caches.write_from(piece.slot, piece.position)
        if not self._fused:
            for piece in pieces:  # a row holds tokens of one sequence
                self._programs.write(*(numbers[None] for numbers in _tokens([piece])))
            return
        self._programs.write(*(numbers[:, None] for numbers in _tokens(pieces)))

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a slot begin with the first `length` positions of another one's keys and values."""
        self._caches.copy(source, target, length)

    def admit(
        self, slot: int, prompt_ids: Sequence[int], params: SamplingParams, sample_index: int = 0
    ) -> Reproducible:
        """Make a prefilled slot ready to decode; the answer says what its seed is good for."""
        self._caches.write_from(slot, len(prompt_ids) - 1)
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
        described = [
            Described(row, asked, self._sampler.take(slot, asked))
            for row, (slot, asked) in enumerate(zip(slots, params, strict=True))
            if asked.measures or asked.logprobs is not None
        ]
        self._moved = not self._programs.all_or_nothing(len(slots))
        left = self._programs.steps(list(slots), pick_variant(params), num_steps)
        self._moved = True
        steps = read_steps(left, len(slots), described)
        self._poisoned.update(slot for step in steps for slot, fine in zip(slots, step.finite, strict=True) if not fine)
        return steps

    def logits(self, slot: int) -> Sequence[float]:
        """Return the raw next-token logits of an admitted slot, drawing nothing and moving nothing."""
        logits: list[float] = self._decoding.logits(tf.constant([slot])).numpy()[0].tolist()
        return logits

    def release(self, slot: int) -> None:
        """End a slot's sequence; its keys and values may stay, if finite, until the next one overwrites them."""
        self._params.pop(slot, None)
        if slot in self._poisoned:
            self._poisoned.discard(slot)
            self._caches.wipe(slot)

    @property
    def compiled_share(self) -> float:
        """Return the share of the programs that are compiled, 0 to 1."""
        return self._programs.compiled_share

    @property
    def compile_events(self) -> Mapping[str, int]:
        """Count what has come of compiling, by name of COMPILE_EVENTS."""
        return self._programs.compile_events

    @property
    def unmoved(self) -> bool:
        """Say, after a decode that raised, whether every slot stands where it stood."""
        return not self._moved

    def wait_until_compiled(self, timeout_s: float | None = None) -> bool:
        """Wait for the compiled programs, and say whether they have taken over; for benchmarks and tests."""
        return self._programs.wait(timeout_s)

    def close(self) -> None:
        """Stop background work and free the device's memory."""
        self._programs.close()
        self._caches.close()

    def _make_caches(self, spec: DecoderSpec) -> Any:
        shape = spec.num_layers, self.num_slots + 1, spec.num_kv_heads, self.max_length, spec.head_dim
        return SharedCaches(*shape) if self._fused else Caches(*shape, self._dtype)

    def _make_sampler(self) -> Sampler:
        return Sampler(
            num_slots=self.num_slots + 1,
            vocab_size=self.vocab_size,
            eos_token_ids=self.eos_token_ids,
            max_length=self.max_length,
            kernel=tensorflow_calls.draw if self._fused else None,
        )


def _tokens(pieces: Sequence[PromptPiece]) -> tuple[tf.Tensor, ...]:
    """Return the token ids of pieces, their slots and positions, each int32 [tokens]."""
    token_ids = [token_id for piece in pieces for token_id in piece.token_ids]
    slots = [piece.slot for piece in pieces for _ in piece.token_ids]
    positions = [piece.position + i for piece in pieces for i in range(len(piece.token_ids))]
    return tuple(map(tf.constant, (token_ids, slots, positions)))
