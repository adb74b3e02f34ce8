"""Several steps in one call: where each slot's sequence stands and ends, and the loop over steps within a program."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from samplers.params import MAX_STOP_TOKEN_IDS, SamplingParams

Tensor = Any
Step = Callable[[Tensor], tuple[Tensor, ...]]

MAX_STEPS = 8  # of one call: by then the call's own cost is an eighth
CALL_S = 0.02  # what a call may take, so that cancelling and joining wait no longer for a loop than for a large step
_BYTES_PER_S = {"cpu": 20e9, "cuda": 1e12}  # that a device reads, rather too low: a step reads every weight


class Sequences:
    """Every slot's last token and position, and what ends it: all that a loop must know to stop by itself."""

    def __init__(self, num_slots: int, eos_token_ids: Sequence[int]) -> None:
        """Start with every sequence at its end.

        Args:
            num_slots: slots of requests, and of nobody.
            eos_token_ids: the model's end-of-sequence ids.
        """
        self._eos_token_ids = eos_token_ids
        self._num_stop_ids = MAX_STOP_TOKEN_IDS + len(eos_token_ids)
        self._last_token, self._position, self._end = (_zeros([num_slots]) for _ in range(3))
        self._stop_ids = _zeros([num_slots, self._num_stop_ids])

    def admit(self, slot: int, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        """Let a slot feed the last token of its prompt next, and end where its parameters say."""
        stop_ids = sorted(params.stop_ids(self._eos_token_ids))
        position = len(prompt_ids) - 1
        self._last_token.scatter_nd_update([[slot]], [prompt_ids[-1]])
        self._position.scatter_nd_update([[slot]], [position])
        self._end.scatter_nd_update([[slot]], [position + params.max_tokens])
        self._stop_ids.scatter_nd_update([[slot]], [[*stop_ids, *[-1] * (self._num_stop_ids - len(stop_ids))]])

    def stand(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last token and the position of slots, both int32 [rows]."""
        return tf.gather(self._last_token, slots), tf.gather(self._position, slots)

    def move_on(self, slots: Tensor, token_ids: Tensor, moves: Tensor) -> Tensor:
        """Take what was drawn for slots, and say which of them go on.

        Args:
            slots: int32 [rows].
            token_ids: drawn, int32 [rows].
            moves: 1, or 0 for slots of nobody; int32 [rows].

        Returns:
            bool [rows]; False where the token is a stop id or the last that the slot may draw.
        """
        self._last_token.scatter_nd_update(slots[:, None], token_ids)
        self._position.scatter_nd_add(slots[:, None], moves)
        stopped = tf.reduce_any(tf.gather(self._stop_ids, slots) == token_ids[:, None], 1)
        return ~stopped & (tf.gather(self._position, slots) < tf.gather(self._end, slots))


def pick_max_steps(weight_bytes: int, device: str) -> int:
    """Return the steps of a call for a model: where a step is short beside the call that runs it, more than one."""
    step_s = weight_bytes / _BYTES_PER_S[device.partition(":")[0]]
    return max(1, min(MAX_STEPS, int(CALL_S / step_s)))


def run_steps(
    step: Step, slots: Tensor, scratch: int, num_steps: Tensor, max_steps: int, leaves: Sequence[tf.TensorSpec]
) -> tuple[Tensor, ...]:
    """Run a step until it has run `num_steps` times or every row has ended.

    A row that has ended runs on in the slot of nobody, so that its own keeps what it held.

    Args:
        step: of slots, int32 [rows]; returns which of the rows go on, bool [rows], and then what it leaves.
        slots: int32 [rows].
        scratch: the slot of nobody.
        num_steps: int32 [], from 1 to `max_steps`.
        max_steps: 1 makes a program without a loop.
        leaves: what a step leaves of one row.

    Returns:
        How many steps were run, int32 []; then what they left, each [max_steps, rows, …], of no meaning beyond that.
    """
    if max_steps == 1:
        _, *left = step(slots)
        return tf.constant(1), *(array[None] for array in left)

    def add_step(number: Tensor, live: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        go_on, *left = step(tf.where(live, slots, scratch))
        kept = tuple(
            tf.tensor_scatter_nd_update(all, [[number]], new[None]) for all, new in zip(kept, left, strict=True)
        )
        return number + 1, live & go_on, *kept

    def goes_on(number: Tensor, live: Tensor, *kept: Tensor) -> Tensor:
        return (number < num_steps) & tf.reduce_any(live)

    rows = tf.shape(slots)[0]
    empty = (tf.zeros([max_steps, rows, *leaf.shape], leaf.dtype) for leaf in leaves)
    number, _, *kept = tf.while_loop(goes_on, add_step, (tf.constant(0), slots < scratch, *empty))
    return number, *kept


def _zeros(shape: Sequence[int]) -> tf.Variable:
    return tf.Variable(tf.zeros(shape, tf.int32), trainable=False)
