"""Pooling: which rows an embedder reads together, and at which depth; no framework here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from server.errors import ModelError
from server.models.progress import Progress, report_nothing
from server.models.spec import DecoderSpec

BATCH_TOKENS = 2048  # of one pass: enough that matrix products run at their full rate, few enough for the cache
NORM_EPS = 1e-5  # added to a hidden state's mean square


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some rows of a data set, end to end.

    Attributes:
        rows: their numbers in the data set, int64 [rows].
        lengths: tokens of each, ≥ 1, int64 [rows].
        token_ids: int64 [tokens].
    """

    rows: np.ndarray
    lengths: np.ndarray
    token_ids: np.ndarray

    @property
    def slots(self) -> np.ndarray:
        """Number of each token's row in this batch, int64 [tokens]."""
        return np.repeat(np.arange(len(self.rows)), self.lengths)

    @property
    def positions(self) -> np.ndarray:
        """Place of each token in its row, int64 [tokens]."""
        starts = np.cumsum(self.lengths) - self.lengths
        return np.arange(len(self.token_ids)) - np.repeat(starts, self.lengths)


def row_batches(token_ids: Sequence[Sequence[int]], max_length: int, max_tokens: int) -> Iterator[RowBatch]:
    """Put rows of similar length together, longest first, so that memory is claimed at the start.

    Args:
        token_ids: of each row; a row without tokens is in no batch.
        max_length: tokens of a row that are read, ≥ 1.
        max_tokens: of a batch; one row may have more.
    """
    lengths = np.array([min(len(row), max_length) for row in token_ids], np.int64)
    order = np.argsort(-lengths, kind="stable")
    order = order[: np.count_nonzero(lengths)]
    start = 0
    while start < len(order):
        width = int(lengths[order[start]])
        rows = order[start : start + max(1, max_tokens // width)]
        flat = np.concatenate([np.asarray(token_ids[row][:max_length], np.int64) for row in rows])
        yield RowBatch(rows, lengths[rows], flat)
        start += len(rows)


def chosen_layers(spec: DecoderSpec, layers: Sequence[int] | None) -> tuple[int, ...]:
    """Return the blocks after which hidden states are taken, rising.

    Args:
        spec: the decoder's shape.
        layers: the caller's choice; 0 is before the first block. None: the embeddings, and the states at a fifth and a
            third of the depth, which together say most of a text's topic. Classifiers that were trained rely on it: it
            can only change together with their format.

    Raises:
        ModelError: a block is not there, or none is asked for.
    """
    if layers is None:
        return tuple(sorted({0, spec.num_layers // 5, max(1, spec.num_layers // 3)}))
    if not layers or not all(0 <= layer <= spec.num_layers for layer in layers):
        raise ModelError(f"layers must be numbers from 0 to {spec.num_layers}; they are {list(layers)}")
    return tuple(sorted(set(layers)))


def pool_rows(
    pool: Callable[[RowBatch], np.ndarray],
    token_ids: Sequence[Sequence[int]],
    max_length: int,
    width: int,
    progress: Progress | None,
) -> np.ndarray:
    """Pool rows batch by batch.

    Args:
        pool: returns the vectors of a batch, float32 [rows, width].
        token_ids: of each row.
        max_length: tokens of a row that are read, ≥ 1.
        width: of a vector.
        progress: called after each batch; None: nobody is told.

    Returns:
        float32 [rows, width]; zeros for a row without tokens.
    """
    report = progress or report_nothing
    pooled = np.zeros((len(token_ids), width), np.float32)
    total, done = sum(min(len(row), max_length) for row in token_ids), 0
    for batch in row_batches(token_ids, max_length, BATCH_TOKENS):
        pooled[batch.rows] = pool(batch)
        done += len(batch.token_ids)
        report("reading texts", done / total)
    return pooled
