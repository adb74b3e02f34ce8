"""Scheduler: which sample holds which slot, and whose turn it is. Plain Python; owns no array and never waits."""

from collections import deque
from collections.abc import Iterator

from server.engine.prefixes import Prefixes
from server.engine.request import FinishReason, Prompt, Request, Sample


class Scheduler:
    """First come, first served over a fixed number of slots.

    The samples of one prompt share one prefill: the first is prefilled, the others copy from whichever slot holds the
    prompt. A slot holds it until another prompt needs the slot, even when nobody decodes there any more. A waiting
    sample takes a free slot that holds its prompt, else the lowest, those from which others have copied last; with a
    cache of prefixes, the one that was of use to nobody for longest, and its prompt begins with what a slot holds of a
    prompt of the same owner.

    Attributes:
        waiting: samples that wait for a slot, oldest first.
        num_waiting_tokens: that they may take, prompts included.
    """

    def __init__(self, num_slots: int, *, prefix_cache: bool = False) -> None:
        self.waiting: deque[Sample] = deque()
        self.num_waiting_tokens = 0
        self._free = set(range(num_slots))
        self._placed: dict[int, Sample] = {}
        self._held: dict[int, Prompt] = {}
        self._prefixes = Prefixes() if prefix_cache else None
        self._used = dict.fromkeys(range(num_slots), 0)  # when a slot was last of use to anybody, counted in uses

    def __bool__(self) -> bool:
        return bool(self.waiting or self._placed)

    @property
    def num_placed(self) -> int:
        """Count the samples that hold a slot."""
        return len(self._placed)

    def add(self, request: Request) -> None:
        """Queue every sample of a request."""
        self.waiting.extend(request.samples)
        self.num_waiting_tokens += sum(sample.num_tokens for sample in request.samples)

    def admit(self) -> list[Sample]:
        """Give free slots to waiting samples, oldest first, and return those samples."""
        admitted = []
        while self.waiting and self._free:
            sample = self.waiting.popleft()
            self.num_waiting_tokens -= sample.num_tokens
            self._place(sample)
            admitted.append(sample)
        return admitted

    def _place(self, sample: Sample) -> None:
        prompt = sample.request.prompt
        found = self._find_prefix(sample)
        held, first = self._held.get, self._first_holders()
        slot = min(self._free, key=lambda slot: (held(slot) is not prompt, slot in first, self._used[slot], slot))
        self._free.remove(slot)
        if self._held.get(slot) is prompt:
            sample.num_prefilled = prompt.num_prefill
        else:
            self.forget(slot)
            sample.prefix = found
        sample.slot = slot
        self._placed[slot] = sample

    def _first_holders(self) -> set[int]:
        """Return, of every prompt that is held, the slot from which others copy it."""
        return set({id(prompt): slot for slot, prompt in reversed(self._held.items())}.values())

    def _find_prefix(self, sample: Sample) -> tuple[int, int] | None:
        """Find the beginning of a prompt that its own samples do not share already: in which slot, how many tokens."""
        if self._prefixes is None or sample.index or self.source(sample) is not None:
            return None
        found = self._prefixes.find(sample.request.prompt)
        if found is not None:
            self._use(found[0])
        return found

    def _use(self, slot: int) -> None:
        if self._prefixes is not None:
            self._used[slot] = max(self._used.values()) + 1

    def samples(self) -> Iterator[Sample]:
        """Go over all samples that have not ended: those in slots, oldest first, then the waiting ones."""
        yield from list(self._placed.values())
        yield from list(self.waiting)

    def prefilling(self) -> list[Sample]:
        """List the samples whose prompts must be computed, oldest first; those that will copy are left out."""
        leaders: dict[int, Sample] = {}
        for sample in self._placed.values():
            if not sample.decoding and not sample.prefilled and self.source(sample) is None:
                leaders.setdefault(id(sample.request.prompt), sample)
        return list(leaders.values())

    def prefilled(self, sample: Sample, tokens: int) -> None:
        """Note that so many more tokens of a sample's prompt are in its slot."""
        sample.num_prefilled += tokens
        if sample.prefilled and sample.slot is not None:
            self._held[sample.slot] = sample.request.prompt
            if self._prefixes is not None:
                self._prefixes.keep(sample.slot, sample.request.prompt)
                self._use(sample.slot)

    def ready(self) -> list[Sample]:
        """List the samples that hold a slot and only lack admission by the backend."""
        return [
            sample
            for sample in self._placed.values()
            if not sample.decoding and (sample.prefilled or self.source(sample) is not None)
        ]

    def decoding(self) -> list[Sample]:
        """List the samples that take part in a decode step."""
        return [sample for sample in self._placed.values() if sample.decoding]

    def source(self, sample: Sample) -> int | None:
        """Find a slot that holds the whole of a sample's prompt."""
        return next((slot for slot, prompt in self._held.items() if prompt is sample.request.prompt), None)

    def forget(self, slot: int) -> None:
        """Let nobody copy from a slot, since what is in it cannot be trusted."""
        self._held.pop(slot, None)
        if self._prefixes is not None:
            self._prefixes.drop(slot)
            self._used[slot] = 0

    def finish(self, sample: Sample, reason: FinishReason) -> int | None:
        """End a sample; return the slot that it held, free from now on."""
        sample.finish_reason = reason
        slot, sample.slot, sample.decoding = sample.slot, None, False
        if slot is None:
            self.waiting.remove(sample)
            self.num_waiting_tokens -= sample.num_tokens
        else:
            del self._placed[slot]
            self._free.add(slot)
        return slot
