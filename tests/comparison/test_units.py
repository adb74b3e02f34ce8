"""Units: what counts as a token of the text, and what an end-of-sequence token is."""

import pytest

from server.comparison.units import Units
from tests.comparison.written import END, TOKENS, says

WORDS = Units(frozenset({END}))


def test_the_token_that_ended_a_text_is_none_of_its_units():
    ended = says("a b", ended=True)
    assert len(ended.token_ids) == 3
    assert TOKENS.of(ended) == TOKENS.of(says("a b")) == ended.token_ids[:2]
    assert TOKENS.ended(ended)


def test_an_end_that_the_arm_ignores_is_a_token_like_others():
    ignored = says("a b")
    object.__setattr__(ignored, "token_ids", (*ignored.token_ids, END))
    assert TOKENS.of(ignored)[-1] == END
    assert not TOKENS.ended(ignored)


def test_a_stop_string_is_no_end_of_sequence():
    stopped = says("a b")
    object.__setattr__(stopped, "finish_reason", "stop")
    assert not TOKENS.ended(stopped)
    assert TOKENS.of(stopped) == stopped.token_ids


@pytest.mark.parametrize("units", [TOKENS, WORDS])
def test_a_text_without_anything_has_no_units(units):
    assert units.of(says("")) == units.of(says("", ended=True)) == ()
    assert not units.ended(says(""))
    assert units.text(()) == ""


def test_words_are_compared_without_case_and_marks_stand_alone():
    assert WORDS.of(says("The CAT, sat.")) == ("the", "cat", ",", "sat", ".")
    assert WORDS.text(("the", "cat")) == TOKENS.text(TOKENS.of(says("the cat"))) == "the cat"
