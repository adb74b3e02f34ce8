"""Tiles: the kernels keep the keys and values of 16 positions together."""

TILE = 16


def whole_tiles(positions: int) -> int:
    """Return the positions of the tiles that so many positions lie in."""
    return -(-positions // TILE) * TILE


def room_for(positions: int) -> int:
    """Return the positions that a slot gets room for: an odd number of tiles.

    With a power of two, equal positions of all slots and heads would fall into the same few places of the processor's
    cache, and drive each other out.
    """
    tiles = whole_tiles(positions)
    return tiles if tiles // TILE % 2 else tiles + TILE
