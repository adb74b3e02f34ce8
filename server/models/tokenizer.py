"""Tokenizer: text to token ids and back, with special tokens only where the server itself wrote the text."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from server.errors import InvalidRequestError, ModelError

_REPLACEMENT = "\ufffd"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how SentencePiece names a token of one byte


def _byte_level_alphabet() -> dict[str, int]:
    """Return the byte that each character of a byte-level token stands for: itself where it can be seen."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _byte_level_alphabet()


class Tokenizer:
    """A model's tokenizer; all methods may be called from several threads at once.

    It holds two copies of the same tokenizer, because what a special token's name in a text means is a setting of the
    whole object: to switch it between calls would let one thread change what another is doing.

    Attributes:
        fingerprint: the same for tokenizers that are the same.
        special_names: names of the special tokens, such as `<|im_end|>`.
    """

    def __init__(self, serialised: str) -> None:
        """Build from the contents of a `tokenizer.json`; see `from_folder`."""
        self.fingerprint = hashlib.sha256(serialised.encode()).hexdigest()
        self._template = _load(serialised)
        self._text = _load(serialised)
        self._text.encode_special_tokens = True
        added = self._template.get_added_tokens_decoder()
        special_ids = {token_id for token_id, token in added.items() if token.special}
        texts = set(self._template.get_vocab(with_added_tokens=True).values()) - special_ids
        self._has_text = bytes(token_id in texts for token_id in range(max(texts, default=-1) + 1))
        self.special_names = tuple(token.content for token in added.values() if token.special)

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """Load a model folder's `tokenizer.json`.

        Args:
            folder: a model folder.

        Raises:
            ModelError: the file is missing, unreadable, or not a tokenizer.
        """
        path = folder / "tokenizer.json"
        try:
            return cls(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(f"{path} is missing; supported: tokenizers of the tokenizers library") from None
        except Exception as error:  # tokenizers raises nothing narrower for a file that it cannot read
            raise ModelError(f"{path} is not a tokenizer ({error}); copy it again") from error

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included; the model's logits may be wider, never narrower."""
        return self._template.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, special_tokens: bool = False) -> list[int]:
        """Turn text into token ids.

        Args:
            text: any Unicode text; the empty text gives no tokens, or the beginning-of-sequence token alone.
            special_tokens: False for what a person wrote: a special token's name, such as `<|im_start|>`, is plain
                characters, and the tokens that the model wants around any text (a beginning of sequence, if it has
                one) are added. True for what a chat template wrote: names of special tokens become those tokens, and
                nothing is added, because the template has written it.

        Returns:
            Token ids, each below `vocab_size`.

        Raises:
            InvalidRequestError: the text holds half of a surrogate pair, which no encoding can express.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"prompt holds a lone surrogate at character {error.start}; send whole Unicode characters",
                param="prompt",
            ) from None
        tokenizer = self._template if special_tokens else self._text
        return tokenizer.encode(text, add_special_tokens=not special_tokens).ids

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Turn token ids into text.

        Args:
            token_ids: ids that no token has give no text, as those in the padding of a model's vocabulary.
            skip_special_tokens: whether to leave out special tokens, such as `<|im_end|>`.

        Returns:
            The text; bytes that are not UTF-8 become U+FFFD.

        Raises:
            InvalidRequestError: an id is negative or does not fit 32 bits.
        """
        try:
            return self._template.decode(token_ids, skip_special_tokens=skip_special_tokens)
        except OverflowError:
            raise InvalidRequestError(
                f"token ids must be integers from 0 to {self.vocab_size - 1}", param="token_ids"
            ) from None

    def token_text(self, token_id: int) -> str:
        """Return one token's text, for display; part of a character shows as U+FFFD."""
        return self.decode([token_id])

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return one token's bytes, which may be part of a character; None where they cannot be told."""
        text = self.token_text(token_id)
        if _REPLACEMENT not in text:
            return text.encode("utf-8")
        name = self._template.id_to_token(token_id)
        if name is not None and (byte := _BYTE.fullmatch(name)):
            return bytes([int(byte[1], 16)])
        values = [_BYTE_OF.get(character) for character in name or ""]
        return None if None in values else bytes(value for value in values if value is not None)

    def has_text(self, token_id: int) -> bool:
        """Tell whether a token adds to the text of an answer: it exists and is not special."""
        return token_id < len(self._has_text) and self._has_text[token_id] == 1


def _load(serialised: str) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer.from_str(serialised)
    # A file may carry the settings of its training: a prompt must be neither cut nor filled up.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
