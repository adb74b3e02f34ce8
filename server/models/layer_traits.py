"""What differs from layer to layer: which layers see only a window of positions, and which have rotary positions."""

from typing import Any

from server.errors import ModelError
from server.models.config_fields import ConfigFields, short

_FULL, _SLIDING = "full_attention", "sliding_attention"


def read_rotates(fields: ConfigFields, num_layers: int) -> tuple[bool, ...]:
    """Read which layers turn queries and keys: none where positions are learned, else all but those named.

    Args:
        fields: the config; `no_rope_layers` has a 1 for each layer that turns, whatever its name says.
        num_layers: number of blocks.

    Raises:
        ModelError: the list is too short, or has entries other than 0 and 1.
    """
    if not fields.family.rotary:
        return (False,) * num_layers
    if "rotates" not in fields.family.keys:
        return (True,) * num_layers
    flags = fields.given("rotates")
    if flags is None:
        interval = fields.count("unrotated_interval")
        return tuple((layer + 1) % interval != 0 for layer in range(num_layers))
    if not isinstance(flags, list) or len(flags) < num_layers or any(flag not in (0, 1) for flag in flags):
        raise ModelError(
            f"config.json: {fields.key('rotates')} must be a list of {num_layers} zeros and ones; it is {short(flags)}"
        )
    return tuple(bool(flag) for flag in flags[:num_layers])


def read_windows(fields: ConfigFields, rotates: tuple[bool, ...]) -> tuple[int, ...]:
    """Read how many positions each layer sees, a token's own included.

    Args:
        fields: the config.
        rotates: which layers have rotary positions.

    Returns:
        One number a layer; 0: all positions.

    Raises:
        ModelError: the window or the kinds of layers make no sense.
    """
    if fields.family.sliding == "none":  # then `IDENTITIES` has refused whatever asks for a window
        return (0,) * len(rotates)
    window = _window(fields)
    kinds = fields.given("layer_types")
    slides = _usually_slides(fields, rotates) if kinds is None else _slides(kinds, len(rotates))
    if window == 0 and kinds is not None and any(slides):
        raise ModelError(
            f"config.json: layer_types has '{_SLIDING}', but there is no sliding_window, or it is not used"
        )
    return tuple(window if slide else 0 for slide in slides)


def _window(fields: ConfigFields) -> int:
    used = fields.flag("use_sliding_window")
    return fields.count("sliding_window") if used and fields.given("sliding_window") is not None else 0


def _slides(kinds: Any, num_layers: int) -> list[bool]:
    if not isinstance(kinds, list) or len(kinds) != num_layers or any(kind not in (_FULL, _SLIDING) for kind in kinds):
        raise ModelError(
            f"config.json: layer_types must be a list of {num_layers} kinds; supported: '{_FULL}', '{_SLIDING}'; "
            f"it is {short(kinds)}"
        )
    return [kind == _SLIDING for kind in kinds]


def _usually_slides(fields: ConfigFields, rotates: tuple[bool, ...]) -> list[bool]:
    match fields.family.sliding:
        case "late":
            first = fields.given("max_window_layers")
            if isinstance(first, bool) or not isinstance(first, int) or first < 0:
                raise ModelError(
                    f"config.json: max_window_layers must be an integer of at least 0; it is {short(first)}"
                )
            return [layer >= first for layer in range(len(rotates))]
        case "unrotated":
            return [not rotated for rotated in rotates]
        case "alternate":
            return [layer % 2 == 0 for layer in range(len(rotates))]
    return [True] * len(rotates)
