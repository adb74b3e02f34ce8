"""Learning rates: warm-up and decay over the steps of training, and what the temperature of the loss does to the rate.

The loss divides logits by T, so that its gradient by the logits, (softmax(z/T) - y) / T, shrinks as T grows. For SGD
and a linear head, training at T with the rate η is training at 1 with the head's rate η/T², the head begun at W/T.
"""

import math


def rate_factor(step: int, steps: int, *, warmup: float = 0.0, decay: str = "none") -> float:
    """Return what a step's learning rate is of the full one, in (0, 1].

    With w = ⌈warmup · steps⌉ steps of warm-up, step i < w has (i + 1) / (w + 1): it rises from 0, which would have been
    the step before the first. From step w on it is 1 and decays, by u = (i - w) / (steps - w), to 0, which would be the
    step after the last: `linear` 1 - u, `cosine` (1 + cos(πu)) / 2. No step is spent at the rate 0.

    Args:
        step: from 0 to steps - 1.
        steps: of the whole training, ≥ 1.
        warmup: share of all steps, in [0, 1).
        decay: none, linear or cosine.

    Raises:
        ValueError: one of them is not as said.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step {step} of {steps}: give one from 0 to {steps - 1}")
    if not 0 <= warmup < 1:
        raise ValueError(f"a warmup of {warmup}: give the share of all steps, in [0, 1)")
    if decay not in ("none", "linear", "cosine"):
        raise ValueError("there is no such decay: give none, linear or cosine")
    rising = math.ceil(warmup * steps - 1e-9)  # 0.1 · 30 is 3.0000000000000004
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / (steps - rising) if decay != "none" else 0.0
    return 1 - done if decay == "linear" else (1 + math.cos(math.pi * done)) / 2


def coupled_rate(learning_rate: float, temperature: float, coupling: str = "none") -> float:
    """Return the full learning rate at a temperature of the loss.

    - `none`: the rate as it is.
    - `inverse_square`: learning_rate · T². It is what SGD makes of a head's rate that changes, η/T², that this keeps at
      the learning rate itself, so that it undoes the slowing at high T. With Adam, whose steps shrink by 1/T only, it
      speeds the head up.
    - `bands`: 1e-3 from T = 1.5 up, 5e-4 from 1 up, 1e-4 below 1, whatever the learning rate; about `inverse_square`
      with 4e-4, in three steps.

    Args:
        learning_rate: > 0, at temperature 1.
        temperature: of the loss, > 0.
        coupling: none, inverse_square or bands.

    Raises:
        ValueError: one of them is not as said.
    """
    if not (math.isfinite(learning_rate) and learning_rate > 0 and math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"learning rate {learning_rate} at temperature {temperature}: give finite ones above 0")
    if coupling == "none":
        return learning_rate
    if coupling == "inverse_square":
        return learning_rate * temperature**2
    if coupling == "bands":
        return 1e-3 if temperature >= 1.5 else 5e-4 if temperature >= 1 else 1e-4
    raise ValueError("there is no such coupling: give none, inverse_square or bands")
