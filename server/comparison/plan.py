"""Plan: a comparison as it was settled when it was asked for, so that a restart goes on with the same one."""

import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict

from server.api.schemas.compare import ArmRequest, CompareRequest
from server.api.schemas.sampling import DrawFields
from server.comparison.metrics import METRICS
from server.comparison.result import Metric
from server.errors import InvalidRequestError

SEED_BITS = 53  # survives JSON readers that keep every number as a double


class PlannedArm(BaseModel):
    """One arm.

    Attributes:
        name: unlike any other's.
        model: name of a served model.
        prompt_template: holds `{prompt}` once; None: the prompt as it is.
        seed: of its noise.
        replica: whether it is the baseline with other noise.
        given: the sampling fields that were given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    model: str
    prompt_template: str | None
    seed: int
    replica: bool
    given: dict[str, Any]


class Plan(BaseModel):
    """What is compared, and by what rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: list[str]
    arms: list[PlannedArm]
    baseline: str
    samples_per_prompt: int
    max_tokens: int
    seed: int
    common_random_numbers: bool
    equivalence_margins: dict[Metric, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the arms' names, in their order."""
        return tuple(arm.name for arm in self.arms)


def plan_of(request: CompareRequest, *, first_model: str, max_tokens: int) -> Plan:
    """Settle what a request left open, once its price is known to be within the limit.

    Args:
        request: of a comparison.
        first_model: name of the model of arms that name none.
        max_tokens: that a comparison may draw, all samples together.

    Raises:
        InvalidRequestError: it costs too much, a name is given twice or not at all, or there is nothing to compare.
    """
    _require_price(request, max_tokens)
    baseline = _baseline(request)
    _require_metrics(request.equivalence_margins)
    seed = secrets.randbits(SEED_BITS) if request.seed is None else request.seed
    arms = []
    for number, arm in enumerate(request.arms):
        own_seed = seed if request.common_random_numbers else (seed + number) % 2**SEED_BITS
        arms.append(_arm(arm, arm.name, first_model, own_seed, replica=False))
    if request.aa:
        other_seed = (seed + len(request.arms)) % 2**SEED_BITS
        arms.append(_arm(baseline, f"{baseline.name} again", first_model, other_seed, replica=True))
    _require_names([arm.name for arm in arms])
    return Plan(
        prompts=request.prompts,
        arms=arms,
        baseline=baseline.name,
        samples_per_prompt=request.samples_per_prompt,
        max_tokens=request.max_tokens,
        seed=seed,
        common_random_numbers=request.common_random_numbers,
        equivalence_margins=request.equivalence_margins,
    )


def _require_price(request: CompareRequest, max_tokens: int) -> None:
    arms = len(request.arms) + request.aa
    price = arms * len(request.prompts) * request.samples_per_prompt * request.max_tokens
    if price > max_tokens:
        raise InvalidRequestError(
            f"{arms} arms x {len(request.prompts):,} prompts x {request.samples_per_prompt} samples x "
            f"{request.max_tokens:,} tokens are {price:,} tokens; this server draws at most {max_tokens:,} in one "
            "comparison: lower samples_per_prompt or max_tokens, or send fewer prompts",
            param="samples_per_prompt",
        )


def _baseline(request: CompareRequest) -> ArmRequest:
    if request.baseline is None:
        return request.arms[0]
    for arm in request.arms:
        if arm.name == request.baseline:
            return arm
    raise InvalidRequestError("baseline must be the name of one of the arms", param="baseline")


def _require_names(names: list[str]) -> None:
    if len(names) < 2:
        raise InvalidRequestError(
            "arms must hold at least two to compare; add one, or set aa to compare it with itself", param="arms"
        )
    if len(set(names)) < len(names):
        raise InvalidRequestError("arms must not hold two of the same name; give each another", param="arms")


def _require_metrics(margins: dict[str, float]) -> None:
    if not set(margins) <= set(METRICS):
        raise InvalidRequestError(
            f"equivalence_margins must name metrics: {', '.join(METRICS)}", param="equivalence_margins"
        )


def _arm(arm: ArmRequest, name: str, first_model: str, seed: int, *, replica: bool) -> PlannedArm:
    given = arm.model_dump(include=set(DrawFields.model_fields), exclude_unset=True)
    return PlannedArm(
        name=name,
        model=first_model if arm.model is None else arm.model,
        prompt_template=arm.prompt_template,
        seed=seed,
        replica=replica,
        given=given,
    )
