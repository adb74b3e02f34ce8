"""A decoder in plain NumPy, float32, one sequence, no cache: what a spec and its weights are meant to compute."""

import math

import numpy as np

from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights, LayerWeights


def logits(spec: DecoderSpec, weights: DecoderWeights, token_ids: list[int]) -> np.ndarray:
    hidden = weights.embedding[token_ids].astype(np.float32)
    if weights.positions is not None:
        hidden = hidden + weights.positions[: len(token_ids)]
    for layer in weights.layers:
        hidden = hidden + attention(spec, layer, norm(spec, hidden, layer.attention_norm, layer.attention_norm_bias))
        hidden = hidden + feed_forward(spec, layer, norm(spec, hidden, layer.mlp_norm, layer.mlp_norm_bias))
    return norm(spec, hidden, weights.final_norm, weights.final_norm_bias) @ weights.head.T


def linear(values: np.ndarray, matrix: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    return values @ matrix.T + (0.0 if bias is None else bias)


def norm(spec: DecoderSpec, values: np.ndarray, scale: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    centred = values - values.mean(-1, keepdims=True) if spec.norm == "layer" else values
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + spec.norm_eps) * scale + (0.0 if bias is None else bias)


def attention(spec: DecoderSpec, layer: LayerWeights, values: np.ndarray) -> np.ndarray:
    length, width = len(values), spec.head_dim
    widths = np.cumsum([spec.num_heads * width, spec.num_kv_heads * width])
    parts = np.split(linear(values, layer.qkv, layer.qkv_bias), widths, axis=-1)
    queries, keys, heads = (part.reshape(length, -1, width).swapaxes(0, 1) for part in parts)
    if spec.rope is not None:
        queries, keys = rotate(queries, spec.rope.theta), rotate(keys, spec.rope.theta)
    shared = spec.num_heads // spec.num_kv_heads
    keys, heads = keys.repeat(shared, axis=0), heads.repeat(shared, axis=0)
    scores = queries @ keys.swapaxes(1, 2) / math.sqrt(width)
    scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (shares / shares.sum(-1, keepdims=True)) @ heads
    return linear(mixed.swapaxes(0, 1).reshape(length, -1), layer.out, layer.out_bias)


def rotate(values: np.ndarray, theta: float) -> np.ndarray:
    half = values.shape[-1] // 2
    angles = np.outer(np.arange(values.shape[1]), theta ** (-np.arange(half) / half))
    first, second = values[..., :half], values[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def feed_forward(spec: DecoderSpec, layer: LayerWeights, values: np.ndarray) -> np.ndarray:
    up = linear(values, layer.up, layer.up_bias)
    if spec.gated:
        gate, up = np.split(up, 2, axis=-1)
        return linear(activate(spec, gate) * up, layer.down, layer.down_bias)
    return linear(activate(spec, up), layer.down, layer.down_bias)


def activate(spec: DecoderSpec, values: np.ndarray) -> np.ndarray:
    if spec.activation == "silu":
        return values / (1 + np.exp(-values))
    if spec.activation == "relu":
        return np.maximum(values, 0)
    if spec.activation == "gelu":
        return values * 0.5 * (1 + np.vectorize(math.erf)(values / math.sqrt(2)))
    return values * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (values + 0.044715 * values**3)))
