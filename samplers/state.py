"""SamplingState: every parameter of every slot as a row of an array, so that no value is part of a compiled program."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from samplers.noise import row_key
from samplers.params import MAX_STOP_TOKEN_IDS, SamplingParams
from samplers.temperature import LARGEST, SMALLEST

Array = Any


@dataclass(frozen=True, slots=True)
class SamplingState:
    """Sampling parameters as arrays, one row a slot; the same type holds rows picked for a step.

    Attributes:
        temperature: float32 [rows]; 0 is greedy.
        top_k: int32 [rows]; 0 keeps all.
        top_p: float32 [rows]; 1 keeps all.
        min_p: float32 [rows]; 0 keeps all.
        key0: first word of the noise's key, int32 [rows].
        key1: second word of the noise's key, int32 [rows].
        step: tokens drawn so far, int32 [rows].
        min_tokens: int32 [rows].
        stop_ids: int32 [rows, width]; padded by repetition, all 0 where there is none.
        bias: float32 [rows, vocab], added to the logits.
    """

    temperature: Array
    top_k: Array
    top_p: Array
    min_p: Array
    key0: Array
    key1: Array
    step: Array
    min_tokens: Array
    stop_ids: Array
    bias: Array

    def take(self, rows: Array, *, bias: bool = True) -> "SamplingState":
        """Pick rows.

        Args:
            rows: their indices in the order wanted, an integer array of the same framework; or a slice.
            bias: False leaves out the one wide array, for steps that do not process: it has no columns then.
        """
        narrow = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "bias"}
        return SamplingState(bias=self.bias[rows] if bias else self.bias[:0, :0], **narrow)


def neutral_state(num_slots: int, vocab_size: int, num_eos: int) -> SamplingState:
    """Return NumPy arrays of identities: plain draws from the model's distribution.

    Args:
        num_slots: number of rows.
        vocab_size: width of the logits.
        num_eos: how many end-of-sequence ids the model has, beside a request's own stop ids.
    """
    width = MAX_STOP_TOKEN_IDS + max(num_eos, 1)
    integers = {name: np.zeros(num_slots, np.int32) for name in ("top_k", "key0", "key1", "step", "min_tokens")}
    return SamplingState(
        temperature=np.ones(num_slots, np.float32),
        top_p=np.ones(num_slots, np.float32),
        min_p=np.zeros(num_slots, np.float32),
        stop_ids=np.zeros((num_slots, width), np.int32),
        bias=np.zeros((num_slots, vocab_size), np.float32),
        **integers,
    )


def state_row(
    params: SamplingParams,
    *,
    prompt_ids: Iterable[int],
    sample_index: int,
    eos_token_ids: Iterable[int],
    like: SamplingState,
) -> SamplingState:
    """Translate one sample's parameters into a row of NumPy scalars and vectors.

    Args:
        params: the request's parameters; token ids must be below the width of `like.bias`.
        prompt_ids: the prompt; names the noise together with the seed.
        sample_index: which of the request's samples.
        eos_token_ids: the model's end-of-sequence ids.
        like: gives the widths of `stop_ids` and `bias`.

    Returns:
        A state without the leading axis.
    """
    key0, key1 = row_key(params.seed, prompt_ids, sample_index)
    stop_ids = sorted(params.stop_ids(eos_token_ids))
    bias = np.zeros(like.bias.shape[-1], np.float32)
    for token_id, value in params.logit_bias.items():
        bias[token_id] = value
    temperature = params.temperature and min(max(params.temperature, SMALLEST), LARGEST)
    return SamplingState(
        temperature=np.float32(temperature),
        top_k=np.int32(params.top_k),
        top_p=np.float32(params.top_p),
        min_p=np.float32(params.min_p),
        key0=np.int32(key0),
        key1=np.int32(key1),
        step=np.int32(0),
        min_tokens=np.int32(params.min_tokens if stop_ids else 0),  # else it would ban the padding, token 0
        stop_ids=np.resize(np.array(stop_ids or [0], np.int32), like.stop_ids.shape[-1]),
        bias=bias,
    )
