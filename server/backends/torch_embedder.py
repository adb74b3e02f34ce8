"""TorchEmbedder: texts as vectors, pooled from the hidden states of a served model, in torch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from server.backends import torch_rows
from server.backends.pooling import NORM_EPS, RowBatch, chosen_layers, pool_rows
from server.backends.tiles import whole_tiles
from server.backends.torch_decoder import Decoder
from server.backends.torch_devices import pick_device, pick_dtype
from server.backends.torch_kernels import kernels_fit, load_kernels
from server.models.progress import Progress
from server.models.spec import DecoderSpec
from server.models.weights import DecoderWeights

Tensor = torch.Tensor


class TorchEmbedder:
    """Reads rows of tokens with a decoder's lower blocks, and returns a vector for each.

    On CPU with Kelvin's kernels a row's vector is the same bits whatever else is read with it.

    Attributes:
        width: of a vector.
        max_length: tokens of a row that are read.
    """

    framework = "torch"

    def __init__(
        self,
        spec: DecoderSpec,
        weights: DecoderWeights,
        *,
        layers: Sequence[int] | None = None,
        dtype: Literal["auto", "bfloat16", "float32"] = "auto",
        device: str = "auto",
        max_length: int = 512,
        threads: int = 0,
        cache_dir: Path,
    ) -> None:
        """Load the blocks that are needed onto a device.

        Args:
            spec: the decoder's shape.
            weights: its arrays.
            layers: after which blocks hidden states are taken, from 0 to `num_layers`; None: see `chosen_layers`.
            dtype: of weights and residual stream; auto is as for `TorchBackend`.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            max_length: tokens of a row that are read, ≥ 1; no more than the model was made for.
            threads: CPU threads; 0 leaves torch's own choice.
            cache_dir: keeps kernels from one start to the next.

        Raises:
            ModelError: the device or a layer is not there.
        """
        if threads:
            torch.set_num_threads(threads)
        self._device = pick_device(device)
        self._dtype = pick_dtype(dtype, self._device)
        self.device, self.dtype = str(self._device), str(self._dtype).removeprefix("torch.")
        self.layers = chosen_layers(spec, layers)
        self.width, self.max_length = spec.hidden_size * len(self.layers), min(max_length, spec.context_length)
        self._fused = self._device.type == "cpu" and kernels_fit(spec) and load_kernels(cache_dir)
        self._decoder = Decoder(
            spec,
            replace(weights, layers=weights.layers[: max(self.layers)]),
            operators=torch.ops.kelvin if self._fused else torch_rows,
            dtype=self._dtype,
            device=self._device,
            max_length=self.max_length,
        )

    def pool(self, token_ids: Sequence[Sequence[int]], progress: Progress | None = None) -> np.ndarray:
        """Return a vector for each row of tokens.

        Args:
            token_ids: of each row, from 0 to `vocab_size` - 1; what is beyond `max_length` is not read.
            progress: called after each pass; None: nobody is told. What it raises ends the work.

        Returns:
            float32 [rows, width]: for each layer the mean over tokens of the hidden state, each divided by its root
            mean square; zeros for a row without tokens.
        """
        return pool_rows(self._pool, token_ids, self.max_length, self.width, progress)

    def _pool(self, batch: RowBatch) -> np.ndarray:
        arrays = batch.token_ids, batch.slots, batch.positions, batch.lengths
        token_ids, slots, positions, lengths = (torch.from_numpy(array).to(self._device) for array in arrays)
        pooled = []
        with torch.no_grad():
            keys, values = self._room(batch), self._room(batch)  # each block writes before it reads: one for all
            x = self._decoder.embed(token_ids, positions)
            for layer in range(max(self.layers) + 1):
                if layer:
                    x = self._decoder.block(layer - 1, x, slots, positions, keys, values)
                if layer in self.layers:
                    y = F.rms_norm(x.float(), x.shape[-1:], eps=NORM_EPS)
                    pooled.append(torch.segment_reduce(y, "mean", lengths=lengths))
            return torch.cat(pooled, -1).cpu().numpy()

    def _room(self, batch: RowBatch) -> Tensor:
        """Return a cache for the rows of a batch, or just its shape where the operators need no cache."""
        spec, longest = self._decoder.spec, int(batch.lengths.max())
        shape = len(batch.rows), spec.num_kv_heads, whole_tiles(longest), spec.head_dim
        if self._fused:
            return torch.zeros(shape, dtype=self._dtype, device=self._device)
        return torch.empty(shape, device="meta")
