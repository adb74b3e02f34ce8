"""A row of the state: one sample's parameters, translated into the arrays that the chain reads."""

from collections.abc import Iterable, Sequence

import numpy as np

from samplers.bias import ANY
from samplers.history import history_row
from samplers.noise import row_key
from samplers.params import MAX_STOP_TOKEN_IDS, SamplingParams
from samplers.state import DRAWING, PROCESSING, SamplingState, neutral_state
from samplers.temperature import LARGEST, SMALLEST


def state_row(
    params: SamplingParams,
    *,
    prompt_ids: Sequence[int],
    generated_ids: Sequence[int] = (),
    sample_index: int,
    eos_token_ids: Iterable[int],
    like: SamplingState,
) -> SamplingState:
    """Translate one sample's parameters into a row, in NumPy.

    Args:
        params: the request's parameters; token ids must be below the width of `like.allowed`.
        prompt_ids: the prompt, at least one token; names the noise together with the seed.
        generated_ids: what the row has generated already.
        sample_index: which of the request's samples.
        eos_token_ids: the model's end-of-sequence ids.
        like: gives the widths of the arrays.

    Returns:
        A state of one row.
    """
    num_eos = like.stop_ids.shape[-1] - MAX_STOP_TOKEN_IDS
    row = neutral_state(1, like.allowed.shape[-1], num_eos, like.tokens.shape[-1])
    row.key0[0], row.key1[0] = row_key(params.seed, prompt_ids, sample_index)
    row.step[0] = len(generated_ids)
    _set_temperature(row, params)
    if not params.greedy or params.order == "llamacpp":  # elsewhere no truncation removes the best token at T = 0
        _set_truncations(row, params)
    if params.processes:
        _set_bans(row, params, sorted(params.stop_ids(eos_token_ids)))
        _set_penalties(row, params)
        _set_history(row, prompt_ids, generated_ids)
    return row


def arrays_to_write(slot: int, params: SamplingParams, processing: set[int]) -> Sequence[str]:
    """Name the arrays in which a slot's row is to be written for a new sample: half of them, most often.

    Args:
        slot: where the sample goes.
        params: the request's parameters.
        processing: slots whose last sample asked for processing; brought up to date.

    Returns:
        All, or those that are read where neither this sample nor the slot's last one asks for processing: of its
        history only the length, for beside rows that do it grows too, and must not outgrow its array.
    """
    if not params.processes and slot not in processing:
        return (*DRAWING, "length")
    (processing.add if params.processes else processing.discard)(slot)
    return (*DRAWING, *PROCESSING)


def _set_temperature(row: SamplingState, params: SamplingParams) -> None:
    dynamic = params.dynamic_temperature
    if dynamic is not None:
        row.temperature[0] = max(_single(dynamic.min), SMALLEST)  # 0 would mean greedy
        row.temperature_span[0] = _single(dynamic.max - dynamic.min)
        row.temperature_exponent[0] = _single(dynamic.exponent)
    else:
        row.temperature[0] = _single(params.temperature)


def _set_truncations(row: SamplingState, params: SamplingParams) -> None:
    for name in ("top_n_sigma", "top_k", "top_p", "epsilon_cutoff", "eta_cutoff", "xtc_probability", "xtc_threshold"):
        getattr(row, name)[0] = _single(getattr(params, name))
    min_p, typical_p = row.min_p, row.typical_p
    if params.order == "vllm":
        min_p = row.early_min_p
    elif params.order == "llamacpp":
        typical_p = row.early_typical_p
        row.temperature_last[0] = True
    min_p[0], typical_p[0] = _single(params.min_p), _single(params.typical_p)


def _set_bans(row: SamplingState, params: SamplingParams, stop_ids: list[int]) -> None:
    if params.logit_bias:
        row.bias_ids[0] = np.resize(list(params.logit_bias), row.bias_ids.shape[-1])
        row.bias[0] = np.resize(list(params.logit_bias.values()), row.bias.shape[-1])
    if params.allowed_token_ids is not None:
        row.allowed[0] = False
        row.allowed[0, list(params.allowed_token_ids)] = True
    for place, word in enumerate(params.bad_words):
        row.bad_words[0, place] = ANY
        row.bad_words[0, place, -len(word) :] = word
    if stop_ids:  # else the padding, token 0, would be banned
        row.stop_ids[0] = np.resize(stop_ids, row.stop_ids.shape[-1])
        row.min_tokens[0] = params.min_tokens


def _set_penalties(row: SamplingState, params: SamplingParams) -> None:
    for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        getattr(row, name)[0] = _single(getattr(params, name))
    for name in ("no_repeat_ngram_size", "dry_multiplier", "dry_base", "dry_allowed_length"):
        getattr(row, name)[0] = _single(getattr(params, name))


def _set_history(row: SamplingState, prompt_ids: Sequence[int], generated_ids: Sequence[int]) -> None:
    history = history_row(prompt_ids, generated_ids, row.tokens.shape[-1])
    row.tokens[0], row.length[0] = history.tokens, history.length
    row.counts[0], row.matches[0] = history.counts, history.matches


def _single(value: float) -> float:
    """Bring a number that float32 does not have to the nearest normal one: what is above 0 must not become 0 or inf."""
    return min(max(value, SMALLEST), LARGEST) if value > 0.0 else value
