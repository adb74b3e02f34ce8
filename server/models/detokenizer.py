"""Detokenizer: the text of a growing sequence, piece by piece, never part of a character."""

from collections.abc import Sequence

from server.models.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"
_LONGEST_CHARACTER = 4  # bytes of a UTF-8 character, so tokens of one too
_LONGEST_WINDOW = 32
_KEPT = 16


class Detokenizer:
    """Text of one sequence of tokens; special tokens have none.

    What `push` returned and `flush` returns, joined, is `Tokenizer.decode(token_ids, skip_special_tokens=True)`. (A
    tokenizer with byte fallback turns a whole run of byte tokens into U+FFFD when one of them is wrong; here the
    characters before the wrong byte stay, since they may have been shown.)

    Only a window of the last tokens is decoded, so a token costs the same at the end of a long answer as at its start.
    The window begins with the tokens of the last text that was returned: some tokenizers strip the space before a
    text's first word, and a word in the middle must keep it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._context = 0  # tokens at the window's start whose text was returned whole
        self._returned = 0  # characters of the window's text that were returned

    def push(self, token_ids: Sequence[int]) -> str:
        """Take the next tokens and return the text that is now certain.

        Args:
            token_ids: any number, none included.

        Returns:
            New text, perhaps empty; it ends between characters.
        """
        return "".join(self._push(token_id) for token_id in token_ids if self._tokenizer.has_text(token_id))

    def flush(self) -> str:
        """Return the text that was held back, an unfinished character as U+FFFD; the sequence is over."""
        rest = self._tokenizer.decode(self._window)[self._returned :]
        self._window, self._context, self._returned = [], 0, 0
        return rest

    def _push(self, token_id: int) -> str:
        self._window.append(token_id)
        text = self._tokenizer.decode(self._window)
        replaced = len(text) - len(text.rstrip(_REPLACEMENT))
        if replaced == 0:
            piece = text[self._returned :]
            self._restart(self._window[self._context :])
            return piece
        if len(self._window) - self._context < _LONGEST_CHARACTER:
            return ""
        # More tokens than a character has bytes: what is wrong now stays wrong, but for the last few.
        certain = len(text) - min(replaced, _LONGEST_CHARACTER - 1)
        piece = text[self._returned : certain]
        self._returned = certain
        if len(self._window) > _LONGEST_WINDOW:
            self._shorten(len(text) - certain)
        return piece

    def _restart(self, context: list[int]) -> None:
        self._window = context
        self._context = len(context)
        self._returned = len(self._tokenizer.decode(context))

    def _shorten(self, held: int) -> None:
        # UTF-8 finds its characters again within three bytes, wherever it is cut: the window's last characters, which
        # are those held back, stay the same.
        self._window = self._window[-_KEPT:]
        self._context = 0
        self._returned = len(self._tokenizer.decode(self._window)) - held
