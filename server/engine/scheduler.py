"""Scheduler: which sample holds which slot, and whose turn it is. Plain Python; owns no array and never waits."""

import heapq
from collections import deque
from collections.abc import Iterator

from server.engine.request import FinishReason, Request, Sample


class Scheduler:
    """First come, first served over a fixed number of slots.

    A waiting sample takes the lowest free slot. The samples of one request share one prefill: the first is prefilled,
    the others copy from whichever of them has its prompt in a slot.
    """

    def __init__(self, num_slots: int) -> None:
        self.waiting: deque[Sample] = deque()
        self._free = list(range(num_slots))
        self._placed: dict[int, Sample] = {}

    def __bool__(self) -> bool:
        return bool(self.waiting or self._placed)

    @property
    def num_placed(self) -> int:
        """Count the samples that hold a slot."""
        return len(self._placed)

    def add(self, request: Request) -> None:
        """Queue every sample of a request."""
        self.waiting.extend(request.samples)

    def admit(self) -> list[Sample]:
        """Give free slots to waiting samples, oldest first, and return those samples."""
        admitted = []
        while self.waiting and self._free:
            sample = self.waiting.popleft()
            sample.slot = heapq.heappop(self._free)
            self._placed[sample.slot] = sample
            admitted.append(sample)
        return admitted

    def samples(self) -> Iterator[Sample]:
        """Go over all samples that have not ended: those in slots, oldest first, then the waiting ones."""
        yield from list(self._placed.values())
        yield from list(self.waiting)

    def prefilling(self) -> list[Sample]:
        """List the samples whose prompts must be computed, oldest first; siblings that will copy are left out."""
        leaders: dict[int, Sample] = {}
        for sample in self._placed.values():
            if not sample.decoding and self.source(sample) is None:
                leaders.setdefault(id(sample.request), sample)
        return [sample for sample in leaders.values() if not sample.prefilled]

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

    def source(self, sample: Sample) -> Sample | None:
        """Find a sibling whose slot holds the whole prompt."""
        for sibling in sample.request.samples:
            if sibling is not sample and sibling.slot is not None and sibling.prefilled:
                return sibling
        return None

    def finish(self, sample: Sample, reason: FinishReason) -> int | None:
        """End a sample; return the slot that it held, free from now on."""
        sample.finish_reason = reason
        slot, sample.slot, sample.decoding = sample.slot, None, False
        if slot is None:
            self.waiting.remove(sample)
        else:
            del self._placed[slot]
            heapq.heappush(self._free, slot)
        return slot
