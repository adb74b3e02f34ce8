"""SamplingState: every parameter of every slot as a row of an array, so that no value is part of a compiled program."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from samplers.bias import NEVER
from samplers.history import History, append
from samplers.params import MAX_BAD_WORD_LENGTH, MAX_BAD_WORDS, MAX_LOGIT_BIASES, MAX_STOP_TOKEN_IDS
from samplers.xp import namespace

Array = Any


_OFF, _ONE, _NONE = np.float32(0.0), np.float32(1.0), np.int32(0)

# What each array holds in a row that asks for nothing, by the stage that reads it.
_DRAW = {
    "temperature": _ONE,
    "key0": _NONE,
    "key1": _NONE,
    "step": _NONE,
}
_TRUNCATION = {
    "temperature_span": _OFF,
    "temperature_exponent": _ONE,
    "temperature_last": np.bool_(False),
    "top_n_sigma": _OFF,
    "early_min_p": _OFF,
    "top_k": _NONE,
    "early_typical_p": _ONE,
    "top_p": _ONE,
    "min_p": _OFF,
    "typical_p": _ONE,
    "epsilon_cutoff": _OFF,
    "eta_cutoff": _OFF,
    "xtc_probability": _OFF,
    "xtc_threshold": _OFF,
}
_PROCESSING = {
    "bias_ids": _NONE,
    "bias": _OFF,
    "allowed": np.bool_(True),
    "bad_words": np.int32(NEVER),
    "min_tokens": _NONE,
    "stop_ids": _NONE,
    "repetition_penalty": _ONE,
    "presence_penalty": _OFF,
    "frequency_penalty": _OFF,
    "no_repeat_ngram_size": _NONE,
    "dry_multiplier": _OFF,
    "dry_base": _ONE,
    "dry_allowed_length": _NONE,
    "tokens": _NONE,
    "length": _NONE,
    "counts": _NONE,
    "matches": _NONE,
}

DRAWING = (*_DRAW, *_TRUNCATION)  # the arrays that the draw reads, from temperature to xtc_threshold
PROCESSING = (*_PROCESSING,)  # those that `process` reads beside the step, from bias_ids to matches
MOVING = ("step", "tokens", "length", "counts", "matches")  # the arrays that `advance` changes


@dataclass(frozen=True, slots=True)
class SamplingState:
    """Sampling parameters as arrays, one row a slot; the same type holds rows picked for a step.

    What the order of the steps decides is decided here, once a request, and not in every step: `vllm` is a row with its
    min_p in `early_min_p`, `llamacpp` one with its typical_p in `early_typical_p` and `temperature_last` set. A row
    whose temperature is 0 has no truncations, but where they come before the temperature.

    Attributes:
        temperature: float32 [rows], the least where it is dynamic; 0 is greedy.
        key0: first word of the noise's key, int32 [rows].
        key1: second word of the noise's key, int32 [rows].
        step: tokens drawn so far, int32 [rows].
        temperature_span: how far a dynamic temperature goes above its least, float32 [rows]; 0 where it is fixed.
        temperature_exponent: float32 [rows].
        temperature_last: bool [rows]; whether truncations see the untempered distribution.
        top_n_sigma: float32 [rows]; 0 keeps all.
        early_min_p: float32 [rows]; 0 keeps all.
        top_k: int32 [rows]; 0 keeps all.
        early_typical_p: float32 [rows]; 1 keeps all.
        top_p: float32 [rows]; 1 keeps all.
        min_p: float32 [rows]; 0 keeps all.
        typical_p: float32 [rows]; 1 keeps all.
        epsilon_cutoff: float32 [rows]; 0 keeps all.
        eta_cutoff: float32 [rows]; 0 keeps all.
        xtc_probability: float32 [rows]; 0 never.
        xtc_threshold: float32 [rows].
        bias_ids: int32 [rows, width], padded by repetition.
        bias: added to the logits of these ids, float32 [rows, width].
        allowed: bool [rows, vocab].
        bad_words: int32 [rows, words, longest]; see `ban_bad_words`.
        min_tokens: int32 [rows].
        stop_ids: int32 [rows, width]; padded by repetition, all 0 where there is none.
        repetition_penalty: float32 [rows]; 1 changes nothing.
        presence_penalty: float32 [rows].
        frequency_penalty: float32 [rows].
        no_repeat_ngram_size: int32 [rows]; 0 bans nothing.
        dry_multiplier: float32 [rows]; 0 turns DRY off.
        dry_base: float32 [rows].
        dry_allowed_length: int32 [rows].
        tokens: see `History`, like the three below.
        length: int32 [rows].
        counts: int32 [rows, max_length].
        matches: int32 [rows, max_length].
    """

    temperature: Array
    key0: Array
    key1: Array
    step: Array
    temperature_span: Array
    temperature_exponent: Array
    temperature_last: Array
    top_n_sigma: Array
    early_min_p: Array
    top_k: Array
    early_typical_p: Array
    top_p: Array
    min_p: Array
    typical_p: Array
    epsilon_cutoff: Array
    eta_cutoff: Array
    xtc_probability: Array
    xtc_threshold: Array
    bias_ids: Array
    bias: Array
    allowed: Array
    bad_words: Array
    min_tokens: Array
    stop_ids: Array
    repetition_penalty: Array
    presence_penalty: Array
    frequency_penalty: Array
    no_repeat_ngram_size: Array
    dry_multiplier: Array
    dry_base: Array
    dry_allowed_length: Array
    tokens: Array
    length: Array
    counts: Array
    matches: Array

    @property
    def history(self) -> History:
        """Return what the rows have read and written."""
        return History(self.tokens, self.length, self.counts, self.matches)

    @property
    def drawing(self) -> tuple[Array, ...]:
        """Return the arrays that the draw reads, from temperature to xtc_threshold."""
        return tuple(getattr(self, name) for name in DRAWING)

    @property
    def processing(self) -> tuple[Array, ...]:
        """Return the arrays that steps 1 to 7 read: the step, then from bias_ids to matches."""
        return tuple(getattr(self, name) for name in ("step", *PROCESSING))

    def take(self, rows: Array, *, processes: bool = True, truncates: bool = True) -> "SamplingState":
        """Pick rows.

        Args:
            rows: their indices in the order wanted, an integer array of the same framework.
            processes: False leaves the arrays that `process` reads empty, for steps that do without.
            truncates: False leaves those that truncation reads empty, likewise.
        """
        xp = namespace(rows)
        left_out = ({} if truncates else _TRUNCATION) | ({} if processes else _PROCESSING)
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return SamplingState(
            **{name: array[:0] if name in left_out else xp.take(array, rows) for name, array in arrays.items()}
        )


def advance(state: SamplingState, token_ids: Array) -> SamplingState:
    """Move rows on by the tokens that were drawn; a history that was left out stays so.

    Args:
        state: of these rows.
        token_ids: int32 [rows].
    """
    moved = replace(state, step=state.step + 1)
    if not len(state.tokens):
        return moved
    grown = append(state.history, token_ids)
    return replace(moved, tokens=grown.tokens, length=grown.length, counts=grown.counts, matches=grown.matches)


def neutral_state(num_slots: int, vocab_size: int, num_eos: int, max_length: int) -> SamplingState:
    """Return NumPy arrays of identities: plain draws from the model's distribution.

    Args:
        num_slots: number of rows.
        vocab_size: width of the logits.
        num_eos: how many end-of-sequence ids the model has, beside a request's own stop ids.
        max_length: positions of a row, prompt and generated tokens together.
    """
    wide = {
        "bias_ids": (MAX_LOGIT_BIASES,),
        "bias": (MAX_LOGIT_BIASES,),
        "allowed": (vocab_size,),
        "bad_words": (MAX_BAD_WORDS, MAX_BAD_WORD_LENGTH),
        "stop_ids": (MAX_STOP_TOKEN_IDS + max(num_eos, 1),),
        "tokens": (max_length,),
        "counts": (max_length,),
        "matches": (max_length,),
    }
    identities = _DRAW | _TRUNCATION | _PROCESSING
    return SamplingState(
        **{
            name: np.full((num_slots, *wide.get(name, ())), identity, identity.dtype)
            for name, identity in identities.items()
        }
    )
