"""The chain: from logits to a token, in one fixed and published order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from samplers.bias import apply_logit_bias, apply_min_tokens, ban_bad_words, keep_allowed
from samplers.kept import Kept, keep_all, truncate
from samplers.noise import gumbel_noise
from samplers.penalties import penalize
from samplers.repeats import discourage_repeats
from samplers.state import SamplingState
from samplers.xp import namespace

Array = Any


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a step drew.

    Attributes:
        token_ids: int32 [rows]; 0 where the row is not finite.
        finite: bool [rows]; False where the logits held NaN or +inf, or every token was banned.
        kept: what could have been drawn.
    """

    token_ids: Array
    finite: Array
    kept: Kept


def sample(logits: Array, state: SamplingState, *, processes: bool = True, truncates: bool = True) -> Sampled:
    """Draw one token for every row.

    The steps, numbered in order `hf`, that of transformers:
    1. logit_bias; 2. allowed_token_ids; 3. bad_words; 4. min_tokens; 5. repetition_penalty; 6. presence_penalty and
    frequency_penalty; 7. no_repeat_ngram and DRY; 8. temperature, fixed or dynamic; 9. top_n_sigma; 10. top_k;
    11. top_p; 12. min_p; 13. typical_p; 14. epsilon_cutoff; 15. eta_cutoff; 16. XTC; 17. the draw: the arg max of
    tempered logits plus Gumbel noise (Maddison et al. 2014, arXiv:1411.0030), or without noise at temperature 0.
    In order `vllm`, min_p comes before top_k. In order `llamacpp`, typical_p comes after top_k, and temperature after
    XTC: truncation sees the untempered distribution.

    Args:
        logits: float32 [rows, vocab].
        state: the parameters of these rows.
        processes: False leaves out steps 1 to 7, for batches in which every row has their identities.
        truncates: False leaves out steps 9 to 16 and a dynamic temperature, likewise.
    """
    return draw(process(logits, state) if processes else logits, state, truncates=truncates)


def process(logits: Array, state: SamplingState) -> Array:
    """Apply steps 1 to 7 of the chain to logits [rows, vocab]."""
    kernel = namespace(logits).kernel("process", logits)
    if kernel is not None:
        return kernel(logits, *state.processing)
    history = state.history
    logits = keep_allowed(logits, state.allowed)  # does not mind the bias; makes the copy that the rest writes to
    logits = apply_logit_bias(logits, state.bias_ids, state.bias)
    logits = ban_bad_words(logits, state.bad_words, history.tokens, history.length)
    logits = apply_min_tokens(logits, state.stop_ids, state.min_tokens, state.step)
    logits = penalize(logits, history, state.repetition_penalty, state.presence_penalty, state.frequency_penalty)
    return discourage_repeats(
        logits, history, state.no_repeat_ngram_size, state.dry_multiplier, state.dry_base, state.dry_allowed_length
    )


def draw(logits: Array, state: SamplingState, *, truncates: bool = True, run: Callable[..., Any] = _call) -> Sampled:
    """Apply steps 8 to 17 of the chain to processed logits.

    Args:
        logits: float32 [rows, vocab]; -inf for banned tokens.
        state: the parameters of these rows.
        truncates: see `sample`.
        run: calls a function with arguments; what is worth compiling goes through it.
    """
    kernel = namespace(logits).kernel("draw", logits)
    if kernel is not None:
        token_ids, finite, *kept = kernel(logits, *state.drawing)
        return Sampled(token_ids, finite, Kept(*kept))
    distance = run(distance_from_best, logits)
    kept = run(truncate, distance, state) if truncates else keep_all(state)
    sampled: Sampled = run(draw_nearest, distance, kept, state)
    return sampled


def distance_from_best(logits: Array) -> Array:
    """Return how far each logit lies below the greatest of its row, float32 [rows, vocab], ≥ 0.

    Subtracting the maximum before dividing keeps every T > 0 exact: no T overflows, and the smallest ones leave only
    the best tokens at a finite distance. A banned token is at inf; a row that holds NaN or +inf, or nothing but -inf,
    has NaN in it.
    """
    return namespace(logits).max(logits) - logits


def draw_nearest(distance: Array, kept: Kept, state: SamplingState) -> Sampled:
    """Apply step 17 to what is kept of tokens at these distances, float32 [rows, vocab]."""
    xp = namespace(distance)
    finite = xp.isfinite(xp.max(-distance))[:, 0]
    noise = gumbel_noise(state.key0, state.key1, state.step, distance.shape[-1])
    token_ids = xp.argmax(xp.where((state.temperature > 0.0)[:, None], noise, 0.0) - kept.tempered(distance))
    return Sampled(xp.where(finite, token_ids, xp.zeros_like(token_ids)), finite, kept)
