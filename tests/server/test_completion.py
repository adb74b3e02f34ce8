"""A sample's text: cut where a search of the whole text cuts it, however it comes in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplers.logprobs import TokenLogprobs
from server.api.completion import Completion, Stopping, StopTexts
from server.engine.stream import TokenEvent
from tests.fakes import EOS, ByteTokenizer

ALPHABET = "aab\né🦊"
texts = st.text(ALPHABET, max_size=30)
stop_texts = st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=4)


def first_stop(text, stops, after=0):
    """Search the whole text: (start, end) of the stop that is complete first, the longest of several."""
    found = [
        (start + len(stop), start)
        for stop in stops
        for start in range(len(text))
        if text.startswith(stop, start) and start + len(stop) > after
    ]
    return min(found)[::-1] if found else None


def split(items, sizes):
    """Split into pieces of the given sizes, then one of the rest."""
    for size in sizes:
        yield items[:size]
        items = items[size:]
    yield items


def complete(events, **stopping):
    completion = Completion(ByteTokenizer(), Stopping(**stopping))
    deltas = [completion.take(event) for event in events]
    return [delta for delta in deltas if delta is not None]


def events_of(token_ids, sizes=(), finish_reason="length"):
    groups = list(split(tuple(token_ids), sizes))
    return [
        TokenEvent(0, group, finish_reason=finish_reason if number == len(groups) - 1 else None)
        for number, group in enumerate(groups)
    ]


@given(texts, stop_texts, st.lists(st.integers(0, 5), max_size=20), st.booleans())
def test_stop_texts_cut_where_a_search_of_the_whole_text_does(text, stops, sizes, include_stop):
    search = StopTexts(stops, include_stop=include_stop)
    shown = ""
    for piece in split(text, sizes):
        shown += search.push(piece)
        if search.found:
            break
    found = first_stop(text, stops)
    assert search.found == (found is not None)
    if found is None:
        assert shown + search.flush() == text
    else:
        assert shown == text[: found[1] if include_stop else found[0]]


@given(texts, stop_texts)
def test_no_more_is_held_back_than_could_begin_a_stop_text(text, stops):
    search = StopTexts(stops)
    shown = ""
    for end, character in enumerate(text, start=1):
        shown += search.push(character)
        if search.found:
            break
        beginnings = {stop[:length] for stop in stops for length in range(1, len(stop))}
        held = max((length for length in range(1, end + 1) if text[end - length : end] in beginnings), default=0)
        assert shown == text[: end - held]


@given(texts, stop_texts)
def test_a_text_that_keeps_its_stop_is_never_held_back(text, stops):
    search = StopTexts(stops, include_stop=True)
    shown = ""
    for end, character in enumerate(text, start=1):
        shown += search.push(character)
        assert shown == text[:end]
        if search.found:
            break


@given(
    texts, stop_texts, st.lists(st.integers(0, 5), max_size=20), st.booleans(), st.sampled_from(["length", "cancelled"])
)
def test_the_deltas_joined_are_the_whole_text_cut(text, stops, sizes, include_stop, reason):
    token_ids = tuple(text.encode())
    events = events_of(token_ids, sizes, reason)
    deltas = complete(events, texts=tuple(stops), include_stop=include_stop)
    found = first_stop(text, stops)
    drawn = tuple(token_id for delta in deltas for token_id in delta.token_ids)
    shown = "".join(delta.text for delta in deltas)
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    if found is None:
        assert (shown, drawn, deltas[-1].finish_reason) == (text, token_ids, reason)
    else:
        start, end = found
        assert shown == text[: end if include_stop else start]
        assert drawn == tuple(text[:end].encode())
        assert deltas[-1].finish_reason == "stop"


@given(st.lists(st.integers(0, 255), max_size=40), st.lists(st.integers(0, 3), max_size=40))
def test_bytes_that_are_no_text_come_out_as_decoding_them_at_once_does(token_ids, sizes):
    deltas = complete(events_of(token_ids, sizes))
    assert "".join(delta.text for delta in deltas) == bytes(token_ids).decode("utf-8", "replace")


@given(texts, st.lists(st.integers(0, 3), max_size=20))
def test_a_character_is_never_split(text, sizes):
    deltas = complete(events_of(text.encode(), sizes))
    assert not any("\ufffd" in delta.text for delta in deltas)


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3), st.integers(0, 12))
def test_a_stop_text_counts_once_it_is_completed_after_min_tokens(text, stops, min_tokens):
    deltas = complete(events_of(text.encode(), [1] * len(text)), texts=tuple(stops), min_tokens=min_tokens)
    found = first_stop(text, stops, after=min_tokens)
    assert "".join(delta.text for delta in deltas) == (text if found is None else text[: found[0]])
    assert sum(len(delta.token_ids) for delta in deltas) == (len(text) if found is None else found[1])


@pytest.mark.parametrize(
    ("stops", "text", "cut"),
    [
        (["ab", "b"], "xab", "x"),  # both are complete at the b: the longer one
        (["abc", "b"], "abc", "a"),  # b is complete first
        (["aab"], "aaab", "a"),  # the first a begins nothing that comes
        (["\n\n"], "one\ntwo\n\nthree", "one\ntwo"),
        (["🦊"], "a🦊b", "a"),
        (["é"], "cafe\u0301", "cafe\u0301"),  # equal to the eye, not as characters
    ],
)
def test_examples(stops, text, cut):
    deltas = complete(events_of(text.encode(), [1] * 40), texts=tuple(stops))
    assert "".join(delta.text for delta in deltas) == cut


def test_a_stop_token_is_a_token_and_no_text():
    [delta] = complete([TokenEvent(0, (104, 105, 33), finish_reason="stop")])
    assert (delta.text, delta.token_ids, delta.finish_reason) == ("hi", (104, 105, 33), "stop")


@pytest.mark.parametrize(("last", "text"), [(33, "hi!"), (EOS, "hi<|end|>")])
def test_include_stop_keeps_the_text_of_a_stop_token_special_or_not(last, text):
    deltas = complete(events_of([104, 105, last], [1, 1], "stop"), include_stop=True)
    assert "".join(delta.text for delta in deltas) == text


def test_what_was_held_back_comes_out_at_the_end():
    deltas = complete(events_of(b"wait for it", [10]), texts=("items", "!"))
    assert [delta.text for delta in deltas] == ["wait for ", "it"]
    deltas = complete(events_of([*b"so", EOS], [1, 1], "stop"), texts=("song",))
    assert [delta.text for delta in deltas] == ["", "", "so"]


def test_a_special_token_within_a_text_has_no_text_and_ends_no_stop_text():
    deltas = complete(events_of([*b"<|", EOS, *b"|>"]), texts=("<|end|>",))
    assert "".join(delta.text for delta in deltas) == "<||>"


def test_nothing_comes_after_the_end():
    completion = Completion(ByteTokenizer(), Stopping(texts=("b",)))
    assert completion.take(TokenEvent(0, (97, 98))).finish_reason == "stop"
    assert completion.take(TokenEvent(0, (99,))) is None
    assert completion.take(TokenEvent(0, (), finish_reason="cancelled")) is None
    assert completion.num_tokens == 2


def test_log_probabilities_end_with_the_last_token():
    logprobs = tuple(TokenLogprobs(-float(i), (), (), 0.0, 1) for i in range(4))
    [delta] = complete([TokenEvent(0, tuple(b"xaby"), logprobs)], texts=("ab",))
    assert delta.logprobs == logprobs[:3]
