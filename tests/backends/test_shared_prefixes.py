"""SharedPrefixes: whatever is copied and written, a slot's source begins as it says."""

from hypothesis import given
from hypothesis import strategies as st

from server.backends.shared_prefixes import SharedPrefixes

SLOTS, POSITIONS = 5, 6

slots, positions = st.integers(0, SLOTS - 1), st.integers(0, POSITIONS)
operations = st.lists(st.tuples(slots, slots, positions), max_size=40)


@given(operations)
def test_a_source_holds_what_the_slot_begins_with(operations):
    """Of a slot and itself: what is written there from a position on; of two slots: a copy of the first positions."""
    prefixes, contents, fresh = SharedPrefixes(SLOTS), [[-1 - slot] * POSITIONS for slot in range(SLOTS)], 0
    for source, target, length in operations:
        if source == target:
            fresh += 1
            contents[target][length:] = [fresh] * (POSITIONS - length)
            prefixes.written(target, length)
        else:
            contents[target][:length] = contents[source][:length]
            prefixes.copied(source, target, length)
        for slot, content in enumerate(contents):
            alike, shared = prefixes.sources[slot], prefixes.lengths[slot]
            assert contents[alike][:shared] == content[:shared]


def test_copies_of_copies_read_what_was_copied_first():
    prefixes = SharedPrefixes(SLOTS)
    prefixes.copied(0, 1, 4)
    prefixes.copied(1, 2, 4)
    prefixes.copied(1, 3, 5)
    assert prefixes.sources.tolist() == [0, 0, 0, 1, 4]
    assert prefixes.lengths.tolist() == [0, 4, 4, 5, 0]


def test_slots_whose_source_is_written_over_share_among_themselves():
    prefixes = SharedPrefixes(SLOTS)
    for target in (1, 2, 3):
        prefixes.copied(0, target, 2 + target)
    prefixes.written(0, 3)
    assert prefixes.sources.tolist() == [0, 0, 3, 3, 4]
    assert prefixes.lengths.tolist() == [0, 3, 4, 0, 0]
