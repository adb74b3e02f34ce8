"""Rotary positions (Su et al. 2021, arXiv:2104.09864): how a config spells them, and their frequencies."""

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from server.errors import ModelError
from server.models.config_fields import ConfigFields, positive, short

# Kind → what it reads beside theta; each is a positive number that the config must give.
_PARAMETERS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}


@dataclass(frozen=True, slots=True)
class Rope:
    """How queries and keys turn with their position.

    Attributes:
        theta: base of the wavelengths.
        width: how many elements of a head turn, the first ones; element i turns with element i + ⌈width / 2⌉.
        scaling: what stretches the wavelengths: nothing, one factor for all, or llama 3's factor for the long ones.
        factor: by how much; 1 where nothing does.
        low_freq_factor: wavelengths beyond `original_context` divided by this are stretched whole (llama3).
        high_freq_factor: those below `original_context` divided by this stay (llama3).
        original_context: positions that the model was made for before it was stretched (llama3).
    """

    theta: float
    width: int
    scaling: Literal["default", "linear", "llama3"] = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 1.0
    original_context: float = 1.0


def read_rope(fields: ConfigFields, head_dim: int) -> Rope:
    """Read rotary positions, in the spelling of transformers 4 (`rope_scaling`) or 5 (`rope_parameters`).

    Args:
        fields: the config.
        head_dim: width of a head.

    Raises:
        ModelError: the kind or a parameter is not supported, or a number is missing, out of range or given twice.
    """
    rope = _parameters(fields.config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if not isinstance(kind, str) or kind not in _PARAMETERS:
        supported = ", ".join(repr(name) for name in _PARAMETERS)
        raise ModelError(f"config.json: rope type {short(kind)} is not supported; supported: {supported}")
    if beyond := sorted(set(rope) - _COMMON - set(_PARAMETERS[kind])):
        raise ModelError(f"config.json: rope parameters {', '.join(beyond)} are not supported with rope type '{kind}'")
    numbers = {name: positive(name, rope.get(name)) for name in _PARAMETERS[kind]}
    if kind == "llama3" and numbers["low_freq_factor"] >= numbers["high_freq_factor"]:
        raise ModelError("config.json: low_freq_factor must be less than high_freq_factor")
    return Rope(
        theta=_agreed(fields, rope, "rope_theta"),
        width=_width(fields, rope, head_dim),
        scaling=cast(Literal["default", "linear", "llama3"], kind),
        factor=numbers.get("factor", 1.0),
        low_freq_factor=numbers.get("low_freq_factor", 1.0),
        high_freq_factor=numbers.get("high_freq_factor", 1.0),
        original_context=numbers.get("original_max_position_embeddings", 1.0),
    )


def inverse_frequencies(rope: Rope) -> np.ndarray:
    """Compute the angle by which each pair of elements turns from one position to the next.

    Args:
        rope: the spec's rotary positions.

    Returns:
        float32 [⌈width / 2⌉], radians; position p turns pair i by p times the i-th.
    """
    # In float32 throughout, as the models were trained: the last bit of a frequency grows with the position.
    exponents = np.arange(0, rope.width, 2, dtype=np.float32) / np.float32(rope.width)
    frequencies: np.ndarray = (1.0 / np.float32(rope.theta) ** exponents).astype(np.float32)
    if rope.scaling == "llama3":
        return _stretched_where_long(frequencies, rope)
    frequencies /= np.float32(rope.factor)
    return frequencies


def _stretched_where_long(frequencies: np.ndarray, rope: Rope) -> np.ndarray:
    turns = rope.original_context / (2 * math.pi / frequencies)  # of a pair, over the original context
    kept = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    kept = np.clip(kept, 0.0, 1.0).astype(np.float32)
    stretched: np.ndarray = (1 - kept) * frequencies / np.float32(rope.factor) + kept * frequencies
    return stretched


def _parameters(config: dict[str, Any]) -> dict[str, Any]:
    rope: dict[str, Any] = {}
    for key in ("rope_scaling", "rope_parameters"):
        given = config.get(key) or {}
        if not isinstance(given, dict):
            raise ModelError(f"config.json: {key} must be an object or null; it is {short(given)}")
        if rope and given and rope != given:
            raise ModelError("config.json: rope_scaling and rope_parameters differ; keep the one that is right")
        rope = rope or given
    return rope


def _agreed(fields: ConfigFields, rope: dict[str, Any], field: str) -> float:
    """Read a number that may be in the rope parameters, beside them, or in both places."""
    given = {"rope_parameters": positive(field, rope[field])} if rope.get(field) is not None else {}
    for key in fields.family.rope_keys.get(field, ()):
        if fields.config.get(key) is not None:
            given[key] = positive(key, fields.config[key])
    if len(set(given.values())) > 1:
        raise ModelError(f"config.json: {field} is given as {short(given)}; keep the one that the model was made with")
    return next(iter(given.values()), float(fields.family.defaults[field]))


def _width(fields: ConfigFields, rope: dict[str, Any], head_dim: int) -> int:
    factor = _agreed(fields, rope, "partial_rotary_factor")
    if factor != 1.0 and "partial_rotary_factor" not in fields.family.rope_keys:
        raise ModelError(f"config.json: partial_rotary_factor is {short(factor)}; supported for this family: 1.0")
    width = int(head_dim * factor)
    if not 1 <= width <= head_dim:
        raise ModelError(f"config.json: partial_rotary_factor must leave 1 to {head_dim} elements; it is {factor}")
    if width == head_dim and head_dim % 2:
        raise ModelError(f"config.json: head_dim must be even for rotary positions; it is {head_dim}")
    return width
