"""Bad words: from texts to the sequences of tokens that must not be completed."""

from collections.abc import Sequence

from samplers.params import MAX_BAD_WORD_LENGTH
from server.errors import InvalidRequestError
from server.models.tokenizer import Tokenizer


def encode_bad_words(tokenizer: Tokenizer, words: Sequence[str]) -> list[tuple[int, ...]]:
    """Encode each word as it is and with a space before it, as it stands within a text.

    Only these spellings in tokens are kept from being completed: a word that the model puts together from other pieces
    is not found.

    Args:
        tokenizer: of the model; a special token's name is that token.
        words: none empty.

    Raises:
        InvalidRequestError: a word cannot be encoded or is too long.
    """
    sequences: dict[tuple[int, ...], None] = {}
    for place, word in enumerate(words):
        for text in (word, f" {word.lstrip()}"):
            token_ids = tuple(tokenizer.encode(text, special_tokens=True))
            if not 1 <= len(token_ids) <= MAX_BAD_WORD_LENGTH:
                raise InvalidRequestError(
                    f"bad_words[{place}] is {len(token_ids)} tokens long; a word may have 1 to {MAX_BAD_WORD_LENGTH}, "
                    "so shorten it",
                    param="bad_words",
                )
            sequences[token_ids] = None
    return list(sequences)
