"""Randomness of a fine-tune: each draw is a function of the seed, what it is for, and a number; nothing is remembered.

So a run that goes on after an interruption draws what it would have drawn, and both frameworks draw the same.
"""

from enum import IntEnum

import numpy as np

_NUMBER_BITS = 48


class Purpose(IntEnum):
    """What is drawn, so that no two draws share their noise."""

    ORDER = 1
    WEIGHTS = 2
    STEP = 3
    DROPOUT = 4
    BOOTSTRAP = 5


def generator(seed: int, purpose: Purpose, number: int = 0) -> np.random.Generator:
    """Make a generator of its own for one draw.

    Args:
        seed: of the fine-tune, in [0, 2⁶⁴).
        purpose: what is drawn.
        number: which one, such as an epoch, in [0, 2⁴⁸).
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, purpose << _NUMBER_BITS | number], np.uint64)))


def order(seed: int, epoch: int, rows: int) -> np.ndarray:
    """Return the order in which an epoch sees the rows, int64 [rows]; each epoch has its own."""
    return generator(seed, Purpose.ORDER, epoch).permutation(rows)


def step_seed(seed: int, step: int) -> int:
    """Return the seed of one step's dropout, in [0, 2⁶³)."""
    return int(generator(seed, Purpose.STEP, step).integers(2**63))
