"""A backend that computes nothing and checks everything, and a tokenizer of bytes."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from samplers.params import SamplingParams
from server.backends.base import SAMPLER_SECONDS, Decoded, PromptPiece, Reproducible, TokenLogprobs, TokenMeasures
from server.histogram import Histogram

EOS = 256
START = 257
NAMES = {EOS: "<|end|>", START: "<|start|>"}
VOCAB_SIZE = 258

Script = Callable[[tuple[int, ...], SamplingParams, int], Sequence[int]]


class ByteTokenizer:
    """A token a byte, and two special tokens."""

    vocab_size = VOCAB_SIZE
    fingerprint = "bytes"
    special_names = tuple(NAMES.values())

    def encode(self, text: str, special_tokens: bool = False) -> list[int]:
        if special_tokens and text:
            for token_id, name in NAMES.items():
                before, found, after = text.partition(name)
                if found:
                    return [*self.encode(before, True), token_id, *self.encode(after, True)]
        return list(text.encode("utf-8"))

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        parts = (self._bytes(token_id, skip_special_tokens) for token_id in token_ids)
        return b"".join(parts).decode("utf-8", "replace")

    def token_text(self, token_id: int) -> str:
        return self.decode([token_id])

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id]) if token_id < 256 else NAMES[token_id].encode()

    def has_text(self, token_id: int) -> bool:
        return token_id < 256

    @staticmethod
    def _bytes(token_id: int, skip_special_tokens: bool) -> bytes:
        if token_id < 256:
            return bytes([token_id])
        return b"" if skip_special_tokens else NAMES[token_id].encode()


def says(text: str, *, then: Sequence[int] = (EOS,)) -> Script:
    """Script every sample: the bytes of a text, then other tokens; the last one again and again."""
    return lambda prompt_ids, params, sample: [*text.encode("utf-8"), *then]


class FakeBackend:
    """Draws scripted tokens, or tokens hashed from seed, prompt, sample and step; fails where it is told to.

    A slot holds the prompt's tokens themselves, so that a piece, a copy or an admission that does not belong there is
    an error here and not a wrong word.
    """

    framework = "fake"
    device = "cpu"
    dtype = "float32"
    quantization = "none"
    vocab_size = VOCAB_SIZE
    eos_token_ids: tuple[int, ...] = (EOS,)
    compiled_share = 0.0
    compile_events: Mapping[str, int] = MappingProxyType({})
    unmoved = True  # what fails here has drawn nothing

    def __init__(
        self,
        *,
        num_slots: int = 4,
        max_length: int = 256,
        prefill_chunk: int = 8,
        prefill_least: int = 10_000,
        max_steps: int = 1,
        script: Script | None = None,
        gated: bool = False,
        reproducible: Reproducible = "bitwise",
    ) -> None:
        self.num_slots = num_slots
        self.max_length = max_length
        self.prefill_chunk, self.prefill_least = prefill_chunk, min(prefill_least, prefill_chunk)
        self.max_steps = max_steps
        self.reproducible = reproducible
        self.calls: list[tuple[object, ...]] = []
        self.closed = False
        self.sampler_seconds = Histogram(SAMPLER_SECONDS)
        self.poison: int | None = None  # a prompt token that makes prefill raise
        self.decode_error: Exception | None = None
        self.not_finite: Callable[[tuple[int, ...], int], bool] = lambda prompt_ids, step: False
        self.raw_logits: Sequence[float] = [token_id / 16 for token_id in range(VOCAB_SIZE)]
        self._script = script or _hashed
        self._prefilled: list[list[int]] = [[] for _ in range(num_slots)]
        self._running: dict[int, _Running] = {}
        self.gated = gated
        self._gate = threading.Semaphore(0)

    def allow(self, steps: int = 1) -> None:
        """Let a gated backend decode this many steps more."""
        self._gate.release(steps)

    def count(self, kind: str) -> int:
        """Count the calls of one kind."""
        return sum(call[0] == kind for call in self.calls)

    def prefill(self, pieces: Sequence[PromptPiece]) -> None:
        assert sum(len(piece.token_ids) for piece in pieces) <= self.prefill_chunk
        self.calls.append(("prefill", tuple((piece.slot, piece.position, tuple(piece.token_ids)) for piece in pieces)))
        if any(self.poison in piece.token_ids for piece in pieces):
            raise RuntimeError("poison")
        for piece in pieces:
            assert piece.slot not in self._running
            held = self._prefilled[piece.slot]
            assert len(held) >= piece.position
            held[piece.position :] = piece.token_ids  # what another sequence left behind goes

    def copy(self, source: int, target: int, length: int) -> None:
        assert source != target
        assert target not in self._running
        self.calls.append(("copy", source, target, length))
        assert len(self._prefilled[source]) >= length
        self._prefilled[target] = self._prefilled[source][:length]

    def admit(
        self, slot: int, prompt_ids: Sequence[int], params: SamplingParams, sample_index: int = 0
    ) -> Reproducible:
        assert slot not in self._running
        self.calls.append(("admit", slot))
        assert self._prefilled[slot][: len(prompt_ids) - 1] == list(prompt_ids[:-1])
        self._running[slot] = _Running(tuple(prompt_ids), params, sample_index, self._script)
        return self.reproducible

    def decode(self, slots: Sequence[int]) -> Decoded:
        if self.gated:
            assert self._gate.acquire(timeout=30)
        self.calls.append(("decode", tuple(slots)))
        assert len(set(slots)) == len(slots) <= self.num_slots
        if self.decode_error is not None:
            raise self.decode_error
        self.sampler_seconds.add(0.002)
        rows = [self._running[slot] for slot in slots]
        finite = [not self.not_finite(row.prompt_ids, row.step) for row in rows]
        return Decoded(
            [row.draw() for row in rows], finite, [row.logprobs() for row in rows], [row.measures() for row in rows]
        )

    def decode_steps(self, slots: Sequence[int], num_steps: int) -> list[Decoded]:
        """Decode until all rows have ended; what has ended goes on to draw, which must not be seen."""
        assert 1 <= num_steps <= self.max_steps
        steps = [self.decode(slots)]
        while len(steps) < num_steps and not all(self._running[slot].ended for slot in slots):
            steps.append(self.decode(slots))
        if num_steps > 1:
            self.calls.append(("steps", num_steps, len(steps)))
        return steps

    def logits(self, slot: int) -> Sequence[float]:
        assert slot in self._running
        return self.raw_logits

    def release(self, slot: int) -> None:
        self.calls.append(("release", slot))
        self._running.pop(slot, None)  # keys and values stay: who shares the prompt may use them

    def close(self) -> None:
        self.closed = True


class _Running:
    def __init__(self, prompt_ids: tuple[int, ...], params: SamplingParams, sample: int, script: Script) -> None:
        self.prompt_ids = prompt_ids
        self.params = params
        self.step = 0
        self.ended = False
        self._tokens = script(prompt_ids, params, sample)

    def draw(self) -> int:
        token_id = self._tokens[min(self.step, len(self._tokens) - 1)]
        self.step += 1
        self.ended |= self.step == self.params.max_tokens or token_id in self.params.stop_ids((EOS,))
        return token_id

    def logprobs(self) -> TokenLogprobs | None:
        if self.params.logprobs is None:
            return None
        ids = tuple(range(self.params.logprobs))
        return TokenLogprobs(-0.5, ids, tuple(-float(rank) for rank in ids), 1.25, 7)

    def measures(self) -> TokenMeasures | None:
        return TokenMeasures(2.5, -0.5, 1.25, 0.75, 7, 0.9, 0.6) if self.params.measures else None


def _hashed(prompt_ids: tuple[int, ...], params: SamplingParams, sample: int) -> list[int]:
    """Draw printable ASCII that depends on seed, prompt and sample alone."""
    noise = hashlib.shake_128(repr((prompt_ids, params.seed, sample)).encode()).digest(params.max_tokens)
    return [32 + byte % 95 for byte in noise]


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0, every_s: float = 0.005) -> None:
    """Wait for what another thread does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(every_s)
