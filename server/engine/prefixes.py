"""Prefixes: which slot holds the beginning of a prompt, among those of its owner; found by a chain of hashed blocks."""

from collections.abc import Iterator

from server.engine.request import Prompt

BLOCK = 16  # tokens: what is shared is a whole number of blocks


class Prefixes:
    """The prompts that slots hold, by every whole block that they begin with.

    A block's name hashes its tokens together with the name of the block before, and the first one's with the owner, so
    that one look-up says whether all tokens up to there are the same. What is found is compared token by token besides:
    two names that happen to be equal cost a comparison, never a wrong answer, and no owner is given another's slot.
    """

    def __init__(self) -> None:
        self._held: dict[int, Prompt] = {}
        self._slots: dict[int, list[int]] = {}

    def keep(self, slot: int, prompt: Prompt) -> None:
        """Note that a slot holds a prompt, all tokens but the last; one without an owner is noted for nobody."""
        self.drop(slot)
        if prompt.owner is None:
            return
        self._held[slot] = prompt
        for name in _chain(prompt):
            self._slots.setdefault(name, []).append(slot)

    def drop(self, slot: int) -> None:
        """Forget what a slot holds, if anything."""
        prompt = self._held.pop(slot, None)
        for name in () if prompt is None else _chain(prompt):
            self._slots[name].remove(slot)
            if not self._slots[name]:
                del self._slots[name]

    def find(self, prompt: Prompt) -> tuple[int, int] | None:
        """Find the slot that shares most of a prompt's beginning, and how many tokens; None: not one block."""
        if prompt.owner is None:
            return None
        names = list(_chain(prompt))
        for count in range(len(names), 0, -1):
            for slot in self._slots.get(names[count - 1], ()):
                held = self._held[slot]
                length = count * BLOCK
                if held.owner == prompt.owner and held.token_ids[:length] == prompt.token_ids[:length]:
                    return slot, length
        return None


def _chain(prompt: Prompt) -> Iterator[int]:
    """Name the whole blocks of what is prefilled of a prompt, each together with all before it."""
    name = hash(prompt.owner)
    for start in range(0, prompt.num_prefill - BLOCK + 1, BLOCK):
        name = hash((name, prompt.token_ids[start : start + BLOCK]))
        yield name
