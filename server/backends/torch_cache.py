"""The keys and values of all layers in torch, in slots."""

import torch

from server.backends.shared_prefixes import SharedPrefixes
from server.backends.tiles import room_for, whole_tiles
from server.backends.torch_pages import LargePages
from server.models.spec import DecoderSpec

Tensor = torch.Tensor


class Caches:
    """Every slot's keys and values, each layer's in an array [slots, kv_heads, positions, head_dim].

    Attributes:
        keys: of each layer.
        values: likewise.
        prefixes: which slots begin alike, on the host: each one's source and length, for `attend` of cpu/kernels.h.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        *,
        num_slots: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device,
        position_by_position: bool,
    ) -> None:
        """Make room, all zeros.

        Args:
            spec: the decoder's shape.
            num_slots: sequences.
            max_length: positions of a slot, for which `room_for` makes room.
            dtype: of the elements.
            device: where they live.
            position_by_position: whether all heads of a position lie together in memory, not all positions of a head.
        """
        slots, heads, positions, head_dim = num_slots, spec.num_kv_heads, room_for(max_length), spec.head_dim
        pages = LargePages()

        def cache() -> Tensor:
            if position_by_position:
                return torch.zeros(slots, positions, heads, head_dim, dtype=dtype, device=device).transpose(1, 2)
            if device.type == "cpu":
                return pages.zeros(slots, heads, positions, head_dim, dtype=dtype)
            return torch.zeros(slots, heads, positions, head_dim, dtype=dtype, device=device)

        self.keys, self.values = ([cache() for _ in range(spec.num_layers)] for _ in range(2))
        self._memory = [*self.keys, *self.values]
        if device.type == "cpu" and not position_by_position:
            # torch would wake a second thread for every array that it copies
            self._memory = [cache.view(torch.uint8).numpy() for cache in self._memory]
        self._prefixes = SharedPrefixes(num_slots)
        self.prefixes = torch.from_numpy(self._prefixes.sources), torch.from_numpy(self._prefixes.lengths)

    def write_from(self, slot: int, position: int) -> None:
        """Say that a slot is going to be written to from a position on."""
        self._prefixes.written(slot, position)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of a slot to another slot."""
        for cache in self._memory:
            cache[target, :, : whole_tiles(length)] = cache[source, :, : whole_tiles(length)]
        self._prefixes.copied(source, target, length)

    def wipe(self, slot: int) -> None:
        """Fill a slot with zeros."""
        for cache in self._memory:
            cache[slot] = 0
        self._prefixes.written(slot, 0)

    def clear(self) -> None:
        """Free the memory."""
        self.keys.clear()
        self.values.clear()
        self._memory.clear()
