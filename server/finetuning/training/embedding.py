"""Embedding: texts as pooled hidden states of a served model, read once and then kept on disk."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from server.backends import load_embedder
from server.backends.base import Embedder
from server.finetuning.training.inputs import Embed
from server.finetuning.training.tokens import Tokens
from server.models.load import load_spec
from server.models.weights import read_weights
from server.settings import load_settings

_PIECE = 256  # texts that are read, and kept, at a time: what an interruption may cost

Told = Callable[[float], None]


def model_embed(framework: str, model_dir: Path, tokens: Tokens, max_length: int) -> Embed:
    """Return what turns texts into a model's pooled hidden states, float32 [texts, width].

    The model is loaded when the first text is to be read.

    Args:
        framework: `torch` or `tensorflow`.
        model_dir: folder of the model.
        tokens: of its tokenizer.
        max_length: tokens of a text that are read.

    Raises:
        ModelError: the model cannot be loaded; raised by what is returned.
    """

    @cache
    def embedder() -> Embedder:
        spec = load_spec(model_dir)
        options = {"max_length": max_length, "cache_dir": load_settings().cache_dir}
        return load_embedder(framework, spec, read_weights(model_dir, spec), **options)

    def embed(texts: Sequence[str]) -> np.ndarray:
        states: np.ndarray = embedder().pool([ids.tolist() for ids in tokens.encode(texts)])
        return states

    return embed


def kept_on_disk(embed: Embed, folder: Path, of: str, told: Told) -> Embed:
    """Keep what an embedder says, so that a run that goes on does not ask it again.

    Args:
        embed: the embedder.
        folder: made when it is needed; may be removed at any time.
        of: everything beside the texts that the answer depends on, in any spelling.
        told: called before each piece with the fraction done; what it raises ends the work.
    """

    def remembered(texts: Sequence[str]) -> np.ndarray:
        pieces = []
        for start in range(0, len(texts), _PIECE):
            told(start / len(texts))
            pieces.append(_piece(embed, folder, of, texts[start : start + _PIECE]))
        return np.concatenate(pieces) if pieces else embed(texts)

    return remembered


def fingerprint(model_dir: Path) -> str:
    """Name a model's files as they are now, by name, size and time of their last change."""
    files = [(path.name, path.stat()) for path in sorted(model_dir.iterdir()) if path.is_file()]
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in files])


def _piece(embed: Embed, folder: Path, of: str, texts: Sequence[str]) -> np.ndarray:
    digest = hashlib.sha256(of.encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    path = folder / f"{digest.hexdigest()}.npy"
    if path.is_file():
        found: np.ndarray = np.load(path, allow_pickle=False)
        return found
    states = embed(texts)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".unfinished", delete=False) as file:
        np.save(file, states, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)  # whole or not at all, whatever ends the process
    return states
