"""The documented examples are taken and fit their schemas."""

from pathlib import Path

from server.api import finetuning_examples as examples
from server.api.schemas import finetuning_answers as answers
from server.api.schemas.finetuning import ClassifyRequest, FinetuneRequest
from server.finetuning.data import Findings
from server.finetuning.settling import plan_of


def test_the_example_of_a_request_is_settled_as_the_example_of_a_job_says():
    request = FinetuneRequest.model_validate(examples.REQUEST)
    plan = plan_of(request, {"smollm2": lambda: Path("smollm2")}, framework="torch")
    job = examples.JOB
    assert plan.hyperparameters.model_dump() | {"learning_rate_multiplier": None} == job["hyperparameters"]
    assert plan.temperature.model_dump(mode="json") == job["temperature"]
    assert (plan.method, plan.suffix, plan.serving_temperature) == ("dan", "letters", job["serving_temperature"])
    ClassifyRequest.model_validate(examples.CLASSIFY)


def test_examples_of_answers_fit_their_schemas():
    for schema, example in (
        (answers.FinetuneAnswer, examples.JOB),
        (answers.FinetuneList, examples.JOB_LIST),
        (answers.FinetuneDeletedAnswer, examples.JOB_DELETED),
        (answers.FinetuneEventList, examples.EVENT_LIST),
        (answers.CheckpointList, examples.CHECKPOINT_LIST),
        (answers.ClassifyAnswer, examples.CLASSIFY_ANSWER),
        (Findings, examples.VALIDATION),
    ):
        schema.model_validate(example)
