"""The tokenizer that a GGUF file's metadata describes, written as tokenizer.json.

Built here from the vocabulary and the merges. How text is split before the merges is only a name in the metadata, yet
it decides which tokens a text becomes: a name that is not in `_SPLITS` is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from server.errors import ModelError
from server.models.json_file import write_json

_CONTROL, _USER_DEFINED = 3, 4  # token types of GGUF

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class _Split:
    """How a family of vocabularies cuts text before the merges.

    Attributes:
        pre_tokenizer: makes the cut.
        whole_words: whether a piece that is a token is taken as it is, whatever the merges say.
        adds_bos: whether text begins with the beginning-of-sequence token where the file does not say.
    """

    pre_tokenizer: Callable[[], pre_tokenizers.PreTokenizer]
    whole_words: bool = False
    adds_bos: bool = False


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _smollm() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _llama3() -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.Split(Regex(_LLAMA3), behavior="isolated")
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


_SPLITS = {
    "gpt-2": _Split(_gpt2),
    "smollm": _Split(_smollm),
    "llama-bpe": _Split(_llama3, whole_words=True, adds_bos=True),
    "llama3": _Split(_llama3, whole_words=True, adds_bos=True),
}


def write_tokenizer(path: Path, metadata: dict[str, Any], folder: Path) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and, where the file has one, `chat_template.jinja`.

    Args:
        path: the GGUF file, for the messages.
        metadata: its keys and values.
        folder: where to write.

    Raises:
        ModelError: the vocabulary is not byte-level BPE, its split is unknown, or its parts do not fit together.
    """
    tokens = metadata.get("tokenizer.ggml.tokens") or []
    tokenizer = _tokenizer(path, metadata, tokens, _split_of(path, metadata))
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    special = {key: _token(path, metadata, tokens, f"tokenizer.ggml.{name}_token_id") for key, name in names.items()}
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": metadata["llama.context_length"],
            **{key: token for key, token in special.items() if token is not None},
        },
    )
    if template := metadata.get("tokenizer.chat_template"):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _split_of(path: Path, metadata: dict[str, Any]) -> _Split:
    kind, split = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != "gpt2" or split not in _SPLITS:
        raise ModelError(
            f"{path}: a tokenizer of kind {kind!r} with the split {split!r} is not supported; supported: kind 'gpt2' "
            f"(byte-level BPE) with {', '.join(sorted(_SPLITS))}. Use the model's folder with tokenizer.json instead"
        )
    return _SPLITS[split]


def _tokenizer(path: Path, metadata: dict[str, Any], tokens: list[str], split: _Split) -> Tokenizer:
    merges = [tuple(merge.split(" ")) for merge in metadata.get("tokenizer.ggml.merges") or []]
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    try:
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=split.whole_words))
    except Exception as error:  # tokenizers raises nothing narrower
        raise ModelError(f"{path}: the vocabulary and its merges do not fit together ({error})") from error
    tokenizer.pre_tokenizer = split.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    kinds = metadata.get("tokenizer.ggml.token_type") or []
    if len(vocabulary) != len(tokens) or len(kinds) != len(tokens):
        raise ModelError(f"{path}: the vocabulary must name each token once, and give each a token_type")
    for wanted, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        added = [token for token, kind in zip(tokens, kinds, strict=True) if kind == wanted]
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=special) for token in added])
    _add_sequence_marks(path, metadata, tokens, tokenizer, split)
    return tokenizer


def _add_sequence_marks(
    path: Path, metadata: dict[str, Any], tokens: list[str], tokenizer: Tokenizer, split: _Split
) -> None:
    added: dict[str, str] = {}
    for name, by_default in (("bos", split.adds_bos), ("eos", False)):
        if metadata.get(f"tokenizer.ggml.add_{name}_token", by_default):
            token = _token(path, metadata, tokens, f"tokenizer.ggml.{name}_token_id")
            if token is None:
                raise ModelError(f"{path}: text is to begin or end with a token that tokenizer.ggml does not name")
            added[name] = token
    if added:
        single = [token for token in (added.get("bos"), "$A", added.get("eos")) if token]
        special_tokens = [(token, tokens.index(token)) for token in added.values()]
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special_tokens)


def _token(path: Path, metadata: dict[str, Any], tokens: list[str], name: str) -> str | None:
    token_id: int | None = metadata.get(name)
    if token_id is None:
        return None
    if token_id >= len(tokens):
        raise ModelError(f"{path}: {name} is {token_id}, beyond the vocabulary of {len(tokens)}")
    return tokens[token_id]
