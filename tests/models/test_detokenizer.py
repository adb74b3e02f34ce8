import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers

from server.models.detokenizer import Detokenizer
from server.models.tokenizer import Tokenizer

TEXTS = [
    "The lazy dog.",
    "😀😁👩‍👩‍👧‍👦🇫🇷",
    "日本語の文章です。",
    "über 123 \ufffd\ufffd\ufffd\ufffd\ufffd x",
    "",
    "é" * 50,
]


def pieces_of(tokenizer: Tokenizer, token_ids: Sequence[int], size: int = 1) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    pushed = [detokenizer.push(token_ids[start : start + size]) for start in range(0, len(token_ids), size)]
    return [*pushed, detokenizer.flush()]


def assert_equal_to_decode(tokenizer: Tokenizer, token_ids: Sequence[int], size: int = 1) -> None:
    assert "".join(pieces_of(tokenizer, token_ids, size)) == tokenizer.decode(token_ids, skip_special_tokens=True)


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("text", TEXTS)
def test_pieces_make_the_text(tokenizer: Tokenizer, text: str, size: int):
    pieces = pieces_of(tokenizer, tokenizer.encode(text), size)
    assert "".join(pieces) == text


@pytest.mark.parametrize("text", [text for text in TEXTS if "\ufffd" not in text])
def test_no_piece_holds_part_of_a_character_and_nothing_waits_longer_than_it_must(bpe: tokenizers.Tokenizer, text: str):
    bytewise = byte_by_byte(bpe)
    detokenizer, expected = Detokenizer(bytewise), b""
    for token_id in bytewise.encode(text):
        expected += text.encode()[len(expected) : len(expected) + 1]
        detokenizer_text = detokenizer.push([token_id])
        assert "\ufffd" not in detokenizer_text
        whole = expected.decode("utf-8", errors="ignore")
        assert detokenizer_text == (whole[-1:] if expected == whole.encode() else "")
    assert detokenizer.flush() == ""


def byte_by_byte(bpe: tokenizers.Tokenizer) -> Tokenizer:
    alphabet = tokenizers.Tokenizer(models.BPE(vocab=bpe.get_vocab(), merges=[]))
    alphabet.pre_tokenizer, alphabet.decoder = bpe.pre_tokenizer, bpe.decoder
    return Tokenizer(alphabet.to_str())


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_tokens_make_what_decode_makes(tokenizer: Tokenizer, data: st.DataObject):
    token_ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=80))
    assert_equal_to_decode(tokenizer, token_ids, data.draw(st.integers(1, 5)))


@settings(max_examples=300, deadline=None)
@given(raw=st.lists(st.sampled_from([*b"a\x80\x82\xac\xbf\xc3\xe2\xf0\x9f\x98\xff\xed\xa0\xf4\x90"]), max_size=120))
def test_bytes_that_are_not_utf8_make_what_decode_makes(bpe: tokenizers.Tokenizer, raw: list[int]):
    alphabet = byte_tokens(bpe)
    assert_equal_to_decode(Tokenizer(bpe.to_str()), [alphabet[byte] for byte in raw])


def byte_tokens(bpe: tokenizers.Tokenizer) -> list[int]:
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that byte-level BPE writes as themselves
    hidden = [byte for byte in range(256) if byte not in shown]
    signs = {byte: chr(byte) for byte in shown} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    return [bpe.token_to_id(signs[byte]) for byte in range(256)]


@pytest.mark.parametrize("wrong", [b"\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xf0\x9f\x98\x80\xf0\x9f"])
@pytest.mark.parametrize("end", [b"", b"a", b"\x80", "€".encode()])
def test_a_long_run_of_unfinished_characters_makes_what_decode_makes(
    bpe: tokenizers.Tokenizer, wrong: bytes, end: bytes
):
    alphabet = byte_tokens(bpe)
    tokenizer = Tokenizer(bpe.to_str())
    for times in range(1, 60):
        assert_equal_to_decode(tokenizer, [alphabet[byte] for byte in wrong * times + end])


def test_a_long_run_of_wrong_bytes_is_returned_as_it_comes(bpe: tokenizers.Tokenizer):
    tokenizer = Tokenizer(bpe.to_str())
    wrong = [byte_tokens(bpe)[0x80]] * 500
    pieces = pieces_of(tokenizer, wrong)
    assert "".join(pieces) == "\ufffd" * 500
    assert max(map(len, pieces)) <= 3


class CountingTokenizer(Tokenizer):
    """Counts the tokens that are decoded."""

    decoded = 0

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        self.decoded += len(token_ids)
        return super().decode(token_ids, skip_special_tokens)


@pytest.mark.parametrize("byte", [ord("a"), 0x80])
def test_a_token_costs_the_same_in_a_long_answer(bpe: tokenizers.Tokenizer, byte: int):
    tokenizer = CountingTokenizer(bpe.to_str())
    detokenizer = Detokenizer(tokenizer)
    token_ids = [byte_tokens(bpe)[byte]] * 400
    detokenizer.push(token_ids)
    first, tokenizer.decoded = tokenizer.decoded, 0
    detokenizer.push(token_ids)
    assert tokenizer.decoded <= first * 1.1
    assert first <= 400 * 40


def test_special_tokens_have_no_text_and_do_not_part_a_character(tokenizer: Tokenizer, bpe: tokenizers.Tokenizer):
    alphabet = byte_tokens(bpe)
    euro = [alphabet[byte] for byte in "€".encode()]
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.push([1, euro[0], 2, euro[1]]) == ""
    assert detokenizer.push([0, euro[2]]) == "€"
    assert detokenizer.push([2]) == ""


def test_flush_returns_an_unfinished_character_and_starts_anew(tokenizer: Tokenizer, bpe: tokenizers.Tokenizer):
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.push([byte_tokens(bpe)[0xE2]]) == ""
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.flush() == ""
    assert detokenizer.push(tokenizer.encode("new")) == "new"


@pytest.fixture(scope="module")
def sentencepiece() -> Tokenizer:
    """Make a vocabulary like Llama 2's: `▁` for a space, byte tokens for what has no token."""
    words = ["<unk>", "▁", "▁the", "▁dog", "s", "▁über", "日", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {word: token_id for token_id, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken("<unk>", special=True)])
    return Tokenizer(tokenizer.to_str())


def test_words_keep_their_spaces_where_the_tokenizer_strips_the_first(sentencepiece: Tokenizer):
    assert pieces_of(sentencepiece, [2, 3, 4, 1, 1, 5]) == ["the", " dog", "s", " ", " ", " über", ""]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_byte_fallback_makes_what_decode_makes_of_whole_characters(sentencepiece: Tokenizer, data: st.DataObject):
    words = st.integers(0, 6).map(lambda token_id: [token_id])
    characters = st.sampled_from("é€😀aཨ").map(lambda character: [7 + byte for byte in character.encode()])
    token_ids = [token_id for part in data.draw(st.lists(words | characters, max_size=60)) for token_id in part]
    assert_equal_to_decode(sentencepiece, token_ids)


@pytest.mark.model
def test_smollm2_streams_what_it_decodes(smollm2: Path):
    tokenizer = Tokenizer.from_folder(smollm2)
    for text in TEXTS:
        assert_equal_to_decode(tokenizer, tokenizer.encode(text))
    chance = random.Random(0)
    for _ in range(300):
        token_ids = [chance.randrange(tokenizer.vocab_size) for _ in range(chance.randrange(100))]
        assert_equal_to_decode(tokenizer, token_ids, chance.randrange(1, 5))
    broken = [token_id for token_id in range(tokenizer.vocab_size) if "\ufffd" in tokenizer.token_text(token_id)]
    for _ in range(300):
        assert_equal_to_decode(tokenizer, chance.choices(broken, k=100))
