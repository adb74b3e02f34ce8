"""Noise as a pure function of (seed, prompt, sample, step, token id): Threefry-2x32-20 and the Gumbel draw.

Random bits are a counter's image under a keyed bijection (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3"), so there is no state to keep: a row draws the same token alone or in any batch, in NumPy, torch or
TensorFlow. All arithmetic is int32, which wraps alike everywhere.
"""

import sys
import zlib
from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

from samplers.xp import namespace

Array = Any

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(key0: Array, key1: Array, counter0: Array, counter1: Array) -> tuple[Array, Array]:
    """Encrypt a counter: Threefry-2x32 with 20 rounds (Random123).

    Args:
        key0: first word of the key, int32, any shape that broadcasts with the rest.
        key1: second word of the key, int32.
        counter0: first word of the counter, int32.
        counter1: second word of the counter, int32.

    Returns:
        Two words, int32 bit patterns in the broadcast shape; key 0 and counter 0 give 6b200159 99ba4efe.
    """
    keys = (key0, key1, key0 ^ key1 ^ _PARITY)
    x0, x1 = counter0 + keys[0], counter1 + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = _rotate_left(x1, rotation) ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + (group + 1)
    return x0, x1


def _rotate_left(x: Array, k: int) -> Array:
    xp = namespace(x)  # a shift to the right copies the sign bit; the mask takes the copies away
    return xp.shift_left(x, k) | (xp.shift_right(x, 32 - k) & ((1 << k) - 1))


def row_key(seed: int, prompt_ids: Iterable[int], sample_index: int) -> tuple[int, int]:
    """Derive the key of one sample's noise.

    Args:
        seed: in [0, 2**64); its low and high halves are the two words of the cipher's key.
        prompt_ids: the prompt's token ids; their CRC-32 as little-endian uint32 is the counter's second word.
        sample_index: which of the n samples of a request, in [0, 2**31).

    Returns:
        Two int32 words, as signed Python integers.
    """
    token_ids = array("I", prompt_ids)
    if sys.byteorder == "big":
        token_ids.byteswap()
    words = [seed & 0xFFFFFFFF, seed >> 32, sample_index, zlib.crc32(token_ids.tobytes())]
    key0, key1, counter0, counter1 = (np.array([word], np.uint32).view(np.int32) for word in words)
    out0, out1 = threefry(key0, key1, counter0, counter1)
    return int(out0[0]), int(out1[0])


def coin(key0: Array, key1: Array, step: Array) -> Array:
    """Return a uniform number for each row and step that no token's noise is made of.

    It is the first word of threefry(key, (step, -1)); a token's counter is never negative.

    Args:
        key0: first word of each row's key, int32 [rows].
        key1: second word of each row's key, int32 [rows].
        step: index of the token to draw, int32 [rows].

    Returns:
        float32 [rows], above 0 and below 1.
    """
    word, _ = threefry(key0, key1, step, namespace(step).zeros_like(step) - 1)
    return _uniform(word)


def gumbel_noise(key0: Array, key1: Array, step: Array, vocab_size: int) -> Array:
    """Return the Gumbel noise of every token at one step of each row.

    Token v takes the first word of threefry(key, (step, v)) if v < half, else the second word of
    threefry(key, (step, v - half)), where half is ⌈vocab_size / 2⌉.

    Args:
        key0: first word of each row's key, int32 [rows].
        key1: second word of each row's key, int32 [rows].
        step: index of the token to draw, int32 [rows]; 0 for the first.
        vocab_size: width of the logits, at least 1.

    Returns:
        float32 [rows, vocab_size], finite, in [-2.81, 21.49].
    """
    xp = namespace(key0)
    kernel = xp.kernel("gumbel_noise", key0)
    if kernel is not None:
        return kernel(key0, key1, step, vocab_size)
    half = (vocab_size + 1) // 2
    token = xp.arange(half, like=key0)[None, :]
    counter = step[:, None] + xp.zeros_like(token)
    words = xp.concat(threefry(key0[:, None], key1[:, None], counter, token))[:, :vocab_size]
    return -xp.log(-xp.log1p(-_uniform(words)))


def _uniform(word: Array) -> Array:
    """Turn a word into a number above 0 and below 1."""
    xp = namespace(word)
    uniform = xp.astype((xp.shift_right(word, 1) & 0x7FFFFFFF) | 1, xp.float32) * 2.0**-31
    return xp.minimum(uniform, 1.0 - 2.0**-24)  # rounding could reach 1, whose noise would be infinite
