"""The keys and values of all layers in torch, in slots."""

import torch

from server.backends.shared_prefixes import SharedPrefixes
from server.backends.tiles import room_for
from server.backends.torch_pages import LargePages
from server.models.spec import DecoderSpec

Tensor = torch.Tensor


class Caches:
    """Every slot's keys and values, each layer's in an array [slots, kv_heads, positions, head_dim].

    Attributes:
        keys: of each layer.
        values: likewise.
        prefixes: where each slot's first positions lie, its source and length for `attend` of cpu/kernels.h, on the
            host; None twice where every slot has all of its own.
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
        shares: bool,
    ) -> None:
        """Make room, all zeros.

        Args:
            spec: the decoder's shape.
            num_slots: sequences.
            max_length: positions of a slot, for which `room_for` makes room.
            dtype: of the elements.
            device: where they live.
            position_by_position: whether all heads of a position lie together in memory, not all positions of a head.
            shares: whether a slot may read its first positions in another one, as the kernels do; on CPU alone.
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
        self._prefixes = SharedPrefixes(num_slots, self._copy) if shares else None
        self.prefixes: tuple[Tensor, Tensor] | tuple[None, None] = None, None
        if self._prefixes is not None:
            self.prefixes = torch.from_numpy(self._prefixes.sources), torch.from_numpy(self._prefixes.lengths)

    def write_from(self, slot: int, position: int) -> None:
        """Hear that a slot is going to be written to from a position on."""
        if self._prefixes is not None:
            self._prefixes.write_from(slot, position)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a slot begin with the first `length` positions of another one."""
        if self._prefixes is not None:
            self._prefixes.share(source, target, length)
        else:
            self._copy(source, target, 0, length)

    def wipe(self, slot: int) -> None:
        """Fill a slot with zeros."""
        self.write_from(slot, 0)
        for cache in self._memory:
            cache[slot] = 0

    def close(self) -> None:
        """Free the memory."""
        self.keys.clear()
        self.values.clear()
        self._memory.clear()

    def _copy(self, source: int, target: int, begin: int, end: int) -> None:
        for cache in self._memory:
            cache[target, :, begin:end] = cache[source, :, begin:end]
