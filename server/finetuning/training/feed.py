"""Feed: the arrays that one step or one look at the logits hands to a framework, all randomness already drawn.

Shapes come from few sizes, so that XLA compiles few programs: rows are filled up to a batch's size with rows that
weigh nothing, tokens to the next power of two.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from server.finetuning.training.network import Network
from server.finetuning.training.randomness import Purpose, generator
from server.finetuning.training.trainer import TOKEN, Batch, Inputs

_FEWEST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Feed:
    """Rows for a network.

    Attributes:
        inputs: float32 [rows, …], or token ids, int32 [rows, tokens].
        bag: share of each token in its text's sum, float32 [rows, tokens], 0 where a row has no token; [rows, 0] for
            networks that read no tokens.
        masks: for each of `network.dropped` what its units are multiplied by, float32 [rows, width]; none: nothing is
            dropped.
        labels: int64 [rows].
        weights: share of each row in the loss, float32 [rows]; over all pieces of a batch they sum to 1.
        shares: the same without class weights.
    """

    inputs: np.ndarray
    bag: np.ndarray
    masks: tuple[np.ndarray, ...]
    labels: np.ndarray
    weights: np.ndarray
    shares: np.ndarray


def training_feeds(network: Network, batch: Batch, *, seed: int, rows: int, pieces: int) -> Iterator[Feed]:
    """Cut a batch into the pieces that it is computed in.

    Args:
        network: that is trained.
        batch: at least one row, at most `rows`.
        seed: of the dropout.
        rows: of a full batch, so that the last one of an epoch has the same shape.
        pieces: ≥ 1.
    """
    noise = generator(seed, Purpose.DROPOUT)
    inputs, bag = _inputs(network, batch.inputs, rows, noise)
    masks = tuple(_mask(noise, (rows, width), network.dropout) for width in network.dropped) if network.dropout else ()
    labels = _filled(batch.labels, rows)
    weights = _filled((batch.weights / batch.weights.sum(dtype=np.float64)).astype(np.float32), rows)
    shares = _filled(np.full(len(batch.labels), 1 / len(batch.labels), np.float32), rows)
    size = -(-rows // pieces)
    for start in range(0, len(batch.labels), size):
        piece = slice(start, start + size)
        yield Feed(
            _filled(inputs[piece], size),
            _filled(bag[piece], size),
            tuple(_filled(mask[piece], size) for mask in masks),
            _filled(labels[piece], size),
            _filled(weights[piece], size),
            _filled(shares[piece], size),
        )


def serving_feed(network: Network, inputs: Inputs, rows: int) -> Feed:
    """Prepare rows whose logits are wanted; the first ones are theirs.

    Args:
        network: that is asked.
        inputs: at least one row, at most `rows`.
        rows: to fill them up to.
    """
    filled, bag = _inputs(network, inputs, rows, None)
    nothing = np.zeros(rows, np.float32)
    return Feed(filled, bag, (), nothing.astype(np.int64), nothing, nothing)


def _inputs(
    network: Network, inputs: Inputs, rows: int, noise: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    if not network.reads_tokens:
        values = np.asarray(inputs, np.float32).reshape(len(inputs), *network.inputs)
        return _filled(values, rows), np.zeros((rows, 0), np.float32)
    return _bags(inputs, rows, network.token_dropout, noise)


def _bags(texts: Inputs, rows: int, dropped: float, noise: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and shares of texts, filled up; those that stay stand in for those that are dropped."""
    lengths = np.array([len(text) for text in texts])
    tokens = _size(int(lengths.max(initial=1)))
    ids, shares = np.zeros((rows, tokens), np.int32), np.zeros((rows, tokens), np.float32)
    present = np.zeros((rows, tokens), bool)
    present[: len(texts)] = np.arange(tokens) < lengths[:, None]
    flat = np.concatenate([np.asarray(text) for text in texts])
    if flat.dtype == TOKEN:
        ids[present], shares[present] = flat["id"], flat["share"]
    else:
        ids[present], shares[present] = flat, np.repeat(1 / np.maximum(lengths, 1), lengths)
    if noise is not None and dropped:
        kept = noise.random(present.shape, np.float32) >= dropped
        shares = np.where(kept, shares / np.float32(1 - dropped), np.float32(0))
    return ids, shares


def _mask(noise: np.random.Generator, shape: tuple[int, int], dropped: float) -> np.ndarray:
    kept = noise.random(shape, np.float32) >= dropped
    return kept.astype(np.float32) / np.float32(1 - dropped)


def _filled(values: np.ndarray, rows: int) -> np.ndarray:
    if len(values) == rows:
        return values
    missing = np.zeros((rows - len(values), *values.shape[1:]), values.dtype)
    return np.concatenate([values, missing])


def _size(tokens: int) -> int:
    return max(_FEWEST_TOKENS, 1 << (tokens - 1).bit_length())
