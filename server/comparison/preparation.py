"""Preparation: a plan's arms, settled against the models that are to write."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from server.api.bad_words import encode_bad_words
from server.api.completion import Stopping
from server.api.sampling import Sampling, resolve_sampling
from server.api.schemas.sampling import SamplingFields
from server.comparison.metrics import LABELS, PRIMARIES
from server.comparison.outcome import Arm
from server.comparison.plan import Plan, PlannedArm
from server.comparison.sampling import Writer
from server.comparison.terms import Terms
from server.comparison.units import Units
from server.errors import ContextLengthError, InvalidRequestError, NotFoundError
from server.loaded import LoadedModel

_NOT_AN_ARMS = ("n", "timeout_s", "logprobs", "logprobs_mode")  # what a comparison settles for all arms


@dataclass(frozen=True, slots=True)
class Preparation:
    """What it takes to run a plan.

    Attributes:
        writers: the arms as they sample, in their order.
        arms: the same as the report shows them, by name.
        terms: what they are judged by.
    """

    writers: list[Writer]
    arms: dict[str, Arm]
    terms: Terms


def prepare(plan: Plan, models: Mapping[str, LoadedModel]) -> Preparation:
    """Settle every parameter of every arm.

    Args:
        plan: of the comparison.
        models: those that are served, by name.

    Raises:
        NotFoundError: an arm's model is not served.
        InvalidRequestError: a parameter of an arm is out of range.
        ContextLengthError: `max_tokens` leaves an arm's model no position for a prompt.
    """
    writers, resolved = [], {}
    for arm in plan.arms:
        if arm.model not in models:
            raise NotFoundError(
                f"arm {arm.name} asks for a model that is not served; served: {', '.join(models)}", param="arms"
            )
        model = models[arm.model]
        _require_length(arm, plan.max_tokens, model.backend.max_length)
        sampling = _resolve(arm, plan, model)
        stopping = Stopping(
            tuple(sampling.resolved["stop"]), sampling.resolved["min_tokens"], sampling.resolved["include_stop"]
        )
        params = replace(sampling.params, measures=True)
        special = sampling.resolved["special_tokens"]
        writers.append(Writer(arm.name, model, params, stopping, arm.prompt_template, special))
        resolved[arm.name] = {name: value for name, value in sampling.resolved.items() if name not in _NOT_AN_ARMS}
        resolved[arm.name]["prompt_template"] = arm.prompt_template
    shared = len({writer.model.tokenizer.fingerprint for writer in writers}) == 1
    arms = {
        writer.name: Arm(
            model=writer.model.name,
            framework=writer.model.framework,
            resolved=resolved[writer.name],
            units=Units(
                end_ids=frozenset(writer.model.backend.eos_token_ids),
                decode=writer.model.tokenizer.decode if shared else None,
            ),
        )
        for writer in writers
    }
    return Preparation(writers, arms, _terms(plan))


def _require_length(arm: PlannedArm, max_tokens: int, max_length: int) -> None:
    if max_tokens >= max_length:
        raise ContextLengthError(
            f"max_tokens is {max_tokens}, and the model of arm {arm.name} holds {max_length} positions per sequence, "
            "prompt included; lower max_tokens",
            param="max_tokens",
        )


def _resolve(arm: PlannedArm, plan: Plan, model: LoadedModel) -> Sampling:
    body = SamplingFields.model_validate({**arm.given, "max_tokens": plan.max_tokens, "seed": arm.seed})
    bad_words = encode_bad_words(model.tokenizer, body.bad_words)
    try:
        return resolve_sampling(body, vocab_size=model.backend.vocab_size, max_timeout_s=1.0, bad_words=bad_words)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"arm {arm.name}: {error.message}", param="arms") from None


def _terms(plan: Plan) -> Terms:
    return Terms(
        baseline=plan.baseline,
        arms=plan.names,
        prompts=len(plan.prompts),
        primaries=PRIMARIES,
        labels=LABELS,
        margins=plan.equivalence_margins,
        replicas=frozenset(arm.name for arm in plan.arms if arm.replica),
    )
