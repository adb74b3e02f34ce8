"""SharedPrefixes: whatever is copied and written, a slot's positions are found where it says."""

from hypothesis import given
from hypothesis import strategies as st

from server.backends.shared_prefixes import SharedPrefixes
from server.backends.tiles import TILE, whole_tiles

SLOTS, POSITIONS = 5, 4 * TILE

slots, positions = st.integers(0, SLOTS - 1), st.integers(0, POSITIONS)
operations = st.lists(st.tuples(slots, slots, positions), max_size=40)


class Memory:
    """What lies in each slot's own positions, and how many positions were copied."""

    def __init__(self):
        self.own = [[("empty", slot)] * POSITIONS for slot in range(SLOTS)]
        self.copied = 0
        self.prefixes = SharedPrefixes(SLOTS, self.copy)

    def copy(self, source, target, begin, end):
        assert source != target
        assert begin % TILE == end % TILE == 0
        self.own[target][begin:end] = self.own[source][begin:end]
        self.copied += max(0, end - begin)

    def write(self, slot, position, what):
        self.prefixes.write_from(slot, position)
        self.own[slot][position:] = [what] * (POSITIONS - position)

    def read(self, slot):
        source, shared = self.prefixes.sources[slot], self.prefixes.lengths[slot]
        assert self.own[slot][max(0, shared - TILE) : shared] == self.own[source][max(0, shared - TILE) : shared]
        return self.own[source][:shared] + self.own[slot][shared:]


@given(operations)
def test_a_slot_reads_what_was_written_and_copied_to_it(operations):
    """Of a slot and itself: what is written there from a position on; of two slots: a copy of the first positions."""
    memory, expected = Memory(), [[("empty", slot)] * POSITIONS for slot in range(SLOTS)]
    for number, (source, target, length) in enumerate(operations):
        if source == target:
            expected[target][length:] = [("written", number)] * (POSITIONS - length)
            memory.write(target, length, ("written", number))
        else:
            memory.prefixes.share(source, target, length)
            expected[target] = expected[source][:length] + memory.read(target)[length:]  # anything may lie beyond
        assert [memory.read(slot) for slot in range(SLOTS)] == expected
        assert all(memory.prefixes.lengths[memory.prefixes.sources] == 0)


def test_what_is_shared_stays_where_it_is():
    memory = Memory()
    for target in (1, 2, 3, 4):
        memory.prefixes.share(0 if target < 3 else 1, target, 3 * TILE + 5)
    assert memory.prefixes.sources.tolist() == [0] * SLOTS
    assert memory.prefixes.lengths.tolist() == [0] + [3 * TILE] * 4
    assert memory.copied == 4 * 2 * TILE  # the last tile that is shared, and the rest


def test_slots_whose_source_is_written_over_share_among_themselves():
    memory = Memory()
    for target, tiles in ((1, 1), (2, 2), (3, 3)):
        memory.prefixes.share(0, target, tiles * TILE)
    memory.copied = 0
    memory.write(0, TILE + 3, "new")
    assert memory.prefixes.sources.tolist() == [0, 0, 3, 3, 4]
    assert memory.prefixes.lengths.tolist() == [0, TILE, 2 * TILE, 0, 0]
    assert memory.copied == 3 * TILE


def test_slots_that_are_given_to_others_are_not_copied():
    memory = Memory()
    for target in (1, 2, 3):
        memory.prefixes.share(0, target, whole_tiles(40))
    memory.copied = 0
    for slot in (1, 2, 3, 0):
        memory.write(slot, 0, "new")
    assert memory.copied == 0
