from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.stop_strings import StopStrings


def shown(pieces, stops):
    stop_strings = StopStrings(stops)
    text = "".join(stop_strings.push(piece) for piece in pieces)
    return text + stop_strings.flush(), stop_strings.stopped


@pytest.mark.parametrize(
    ("pieces", "stops", "text", "stopped"),
    [
        (["one two"], [], "one two", False),
        (["one two"], ["x"], "one two", False),
        (["one\n\ntwo"], ["\n\n"], "one", True),
        (["one\n", "\ntwo"], ["\n\n"], "one", True),
        (["one\n", "two"], ["\n\n"], "one\ntwo", False),
        (["one\n"], ["\n\n"], "one\n", False),
        (["aab"], ["ab"], "a", True),
        (["aa", "b"], ["ab"], "a", True),
        (["abcd"], ["abcd", "bc"], "a", True),  # bc is complete before abcd is
        (["xab"], ["b", "ab"], "x", True),  # complete together: the longer
        (["end", "", "more"], ["end"], "", True),
    ],
)
def test_text_ends_before_the_first_stop_string(pieces, stops, text, stopped):
    assert shown(pieces, stops) == (text, stopped)


def test_only_what_may_begin_a_stop_string_is_held_back():
    stop_strings = StopStrings(["stop"])
    assert stop_strings.push("a st") == "a "
    assert stop_strings.push("ep, sto") == "step, "
    assert stop_strings.flush() == "sto"


@given(
    text=st.text("ab", max_size=12),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    cuts=st.sets(st.integers(0, 12)),
)
def test_the_split_into_pieces_changes_nothing(text, stops, cuts):
    bounds = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    # Independent of StopStrings: grow the text by one character until it ends in a stop string.
    end = next((end for end in range(len(text) + 1) if text[:end].endswith(tuple(stops))), None)
    if end is None:
        assert shown(pieces, stops) == (text, False)
    else:
        longest = max(len(stop) for stop in stops if text[:end].endswith(stop))
        assert shown(pieces, stops) == (text[: end - longest], True)
