"""TorchDecoderTrainer: a served model's lower blocks, trained by adapters or as a whole, in torch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from server.backends import torch_rows
from server.backends.pooling import NORM_EPS
from server.backends.torch import pick_dtype
from server.backends.torch_decoder import Decoder
from server.finetuning.training.decoder import ADAPTER_SCALE, Body, attach
from server.finetuning.training.feed import Feed
from server.finetuning.training.network import HEAD, Network
from server.finetuning.training.torch import TorchTrainer, linear

Tensor = torch.Tensor


class TorchDecoderTrainer(TorchTrainer):
    """Trains a decoder; see `Trainer` for what each method promises.

    What is trained is kept in float32. Matrix products are in the type that the model is served in: bfloat16 on CUDA
    and on CPUs that multiply it, unless float32 is asked for.
    """

    def __init__(
        self,
        network: Network,
        weights: Mapping[str, np.ndarray],
        *arguments: Any,
        body: Body,
        dtype: str,
        **options: Any,
    ) -> None:
        """Put a model and the weights that move onto a device.

        Args:
            network: its shape; a `decoder`.
            weights: float32 by name, as `initial_decoder_weights` returns them.
            arguments: as for `TorchTrainer`.
            body: the model.
            dtype: of matrix products: `auto`, `bfloat16` or `float32`.
            options: as for `TorchTrainer`.
        """
        network = network.model_copy(update={"hidden": (body.spec.hidden_size,)})
        super().__init__(network, weights, *arguments, **options)
        compute = pick_dtype(dtype, self._device)
        self._decoder = Decoder(
            body.spec,
            body.weights,
            operators=_Operators(compute),
            dtype=compute if network.rank else torch.float32,
            device=self._device,
            max_length=body.spec.context_length,
        )
        attach(self._decoder, self._weights, _Adapted)

    def _forward(self, feed: Feed) -> Tensor:
        """Return the logits, [rows, classes]; tokens of all rows go through the blocks end to end."""
        lengths = np.count_nonzero(feed.bag, axis=1)
        longest = max(1, int(lengths.max(initial=0)))
        slots, positions = (torch.from_numpy(places).to(self._device) for places in np.nonzero(feed.bag))
        token_ids = self._tensor(feed.inputs)[slots, positions]
        spec = self._decoder.spec
        room = torch.empty(len(lengths), spec.num_kv_heads, longest, spec.head_dim, device="meta")
        x = self._embed(token_ids, positions)
        for number in range(len(self._decoder.layers)):
            x = self._decoder.block(number, x, slots, positions, room, room)
        y = functional.rms_norm(x.float(), x.shape[-1:], eps=NORM_EPS)
        states = y.new_zeros(len(lengths), longest, spec.hidden_size)
        states[slots, positions] = y
        pooled = torch.einsum("rt,rtw->rw", self._tensor(feed.bag[:, :longest]), states)
        if feed.masks:
            pooled = pooled * self._tensor(feed.masks[0])
        return linear(self._weights, HEAD, pooled)

    def _embed(self, token_ids: Tensor, positions: Tensor) -> Tensor:
        """Return what `Decoder.embed` does, whose indexing has a gradient that adds up in any order of its threads."""
        decoder = self._decoder
        x = functional.embedding(token_ids, decoder.embedding)
        if decoder.embedding_scale != 1.0:
            x = x * decoder.embedding_scale
        return x if decoder.positions is None else x + functional.embedding(positions, decoder.positions)


class _Adapted(NamedTuple):
    """A matrix [out, in] that stays, and the adapters A [rank, in] and B [out, rank] that move."""

    matrix: Tensor
    a: Tensor
    b: Tensor


class _Operators:
    """The operators of a decoder that is trained: those for whole rows, products of one type, and adapters."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self.pack, self.normalize, self.activate = torch_rows.pack, torch_rows.normalize, torch_rows.activate
        self.attend = torch_rows.attend

    def linear(
        self, x: Tensor, packed: Any, out_features: int, bias: Tensor | None, residual: Tensor | None, as_float: bool
    ) -> Tensor:
        """Multiply as `torch_rows.linear` does, and add what adapters add."""
        x = x.to(self._dtype)
        if not isinstance(packed, _Adapted):
            return self._product(x, packed, bias, residual)
        added = functional.linear(functional.linear(x, packed.a.to(self._dtype)), packed.b.to(self._dtype))
        return self._product(x, packed.matrix, bias, residual) + added * ADAPTER_SCALE

    def _product(self, x: Tensor, matrix: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        y = functional.linear(x, matrix.to(self._dtype), None if bias is None else bias.to(self._dtype))
        return y if residual is None else y + residual
