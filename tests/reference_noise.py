"""The noise once more, in plain integers: Threefry-2x32-20 of Salmon et al. 2011, and what is made of its words.

Nothing of `samplers/` is used here. The Gumbel draw is that of Maddison et al. 2014 (arXiv:1411.0030).
"""

import math
import struct
import zlib
from collections.abc import Sequence

MASK = 2**32 - 1
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def threefry(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """Encrypt a counter; all words are unsigned."""
    schedule = (key[0], key[1], 0x1BD11BDA ^ key[0] ^ key[1])
    x0, x1 = (counter[0] + schedule[0]) & MASK, (counter[1] + schedule[1]) & MASK
    for i in range(20):
        rotation = ROTATIONS[i % 8]
        x0 = (x0 + x1) & MASK
        x1 = ((x1 << rotation) | (x1 >> (32 - rotation))) & MASK
        x1 ^= x0
        if i % 4 == 3:
            injection = i // 4 + 1
            x0 = (x0 + schedule[injection % 3]) & MASK
            x1 = (x1 + schedule[(injection + 1) % 3] + injection) & MASK
    return x0, x1


def row_key(seed: int, prompt_ids: Sequence[int], sample_index: int) -> tuple[int, int]:
    """Derive the unsigned key of one sample's noise."""
    checksum = zlib.crc32(struct.pack(f"<{len(prompt_ids)}I", *prompt_ids))
    return threefry((seed & MASK, seed >> 32), (sample_index, checksum))


def noise_words(key: tuple[int, int], step: int, vocab_size: int) -> list[int]:
    """Return the unsigned word of every token: first words for the lower half of the vocabulary, then second ones."""
    half = (vocab_size + 1) // 2
    pairs = [threefry(key, (step, v)) for v in range(half)]
    return [pairs[v][0] if v < half else pairs[v - half][1] for v in range(vocab_size)]


def float32(value: float) -> float:
    """Round to float32."""
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    return rounded


def uniform(word: int) -> float:
    """Turn a word into a number between 0 and 1, rounded to float32, as it is defined to be."""
    return min(float32((word >> 1) | 1) * 2.0**-31, 1.0 - 2.0**-24)


def gumbel(word: int) -> float:
    """Turn a word into Gumbel noise; only the uniform number is rounded to float32."""
    return -math.log(-math.log1p(-uniform(word)))


def coin(key: tuple[int, int], step: int) -> float:
    """Return the uniform number that decides whether XTC acts: of the counter after all tokens."""
    return uniform(threefry(key, (step, MASK))[0])
