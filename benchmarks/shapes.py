"""Shapes of known models, random weights for them, and what a decode step of them must read and multiply.

For benchmarks that have no model at hand; on its own it does nothing.
"""

import numpy as np

from server.models.spec import DecoderSpec, spec_from_config
from server.models.weights import DecoderWeights, LayerWeights

# Name → vocabulary, hidden size, layers, heads, key-value heads, width of a head, feed-forward width, tied head.
SHAPES = {
    "tiny": (4096, 256, 4, 4, 2, 64, 512, True),
    "135M": (49152, 576, 30, 9, 3, 64, 1536, True),  # SmolLM2
    "1B": (128256, 2048, 16, 32, 8, 64, 8192, True),  # Llama 3.2
    "8B": (128256, 4096, 32, 32, 8, 128, 14336, False),  # Llama 3.1
    "70B": (128256, 8192, 80, 64, 8, 128, 28672, False),
}


def spec_of(name) -> DecoderSpec:
    """Return a known model's shape."""
    vocab, hidden, layers, heads, kv_heads, head_dim, intermediate, tied = SHAPES[name]
    config = {"model_type": "llama", "vocab_size": vocab, "hidden_size": hidden, "num_hidden_layers": layers}
    config |= {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim}
    config |= {"intermediate_size": intermediate, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5}
    config |= {"hidden_act": "silu", "tie_word_embeddings": tied, "rope_theta": 10000.0, "eos_token_id": 2}
    return spec_from_config(config)


def random_weights(spec, seed=0) -> DecoderWeights:
    """Draw weights of a shape; all layers have the same, so that the host holds one, and the device each its own."""
    chance = np.random.default_rng(seed)

    def matrix(rows, columns):
        return chance.standard_normal((rows, columns), np.float32) * np.float32(columns**-0.5)

    def norm(width):
        return np.ones(width, np.float32)

    heads = (spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim
    empty = dict.fromkeys(LayerWeights.__dataclass_fields__)
    layer = LayerWeights(
        **empty
        | {
            "attention_norm": norm(spec.hidden_size),
            "qkv": matrix(heads, spec.hidden_size),
            "out": matrix(spec.hidden_size, spec.num_heads * spec.head_dim),
            "mlp_norm": norm(spec.hidden_size),
            "up": matrix(2 * spec.intermediate_size, spec.hidden_size),
            "down": matrix(spec.hidden_size, spec.intermediate_size),
        }
    )
    embedding = matrix(spec.vocab_size, spec.hidden_size)
    head = embedding if spec.tied_head else matrix(spec.vocab_size, spec.hidden_size)
    return DecoderWeights(embedding, None, (layer,) * spec.num_layers, norm(spec.hidden_size), None, head * 3)


def multiplied_weights(spec) -> int:
    """Count the weights that every step multiplies by: all but the embedding, of which it reads a line a row."""
    heads = (2 * spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim
    layer = spec.hidden_size * heads + spec.hidden_size * spec.intermediate_size * (2 + spec.gated)
    return spec.num_layers * layer + spec.vocab_size * spec.hidden_size


def stored_weights(spec) -> int:
    """Count the weights that a device holds; norms apart."""
    return multiplied_weights(spec) + (0 if spec.tied_head else spec.vocab_size * spec.hidden_size)


def kv_bytes(spec, element_bytes=2) -> int:
    """Return the bytes of one position's keys and values in all layers."""
    return 2 * spec.num_layers * spec.num_kv_heads * spec.head_dim * element_bytes
