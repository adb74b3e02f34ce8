"""The body of POST /compare."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from server.api.schemas.sampling import DrawFields
from server.api.schemas.strict import StrictModel

MAX_ARMS = 16
MAX_PROMPTS = 1000
MAX_SAMPLES = 256
MAX_NAME = 64
PLACE = "{prompt}"

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ArmRequest(DrawFields):
    """One arm: a name, and where it differs: in any field of sampling, in the model, in what surrounds the prompt."""

    name: Name = Field(description="What the report calls it; each arm another.")
    model: str | None = Field(None, max_length=200, description="Which model; null is the first that is served.")
    prompt_template: str | None = Field(
        None, max_length=10_000, description="What surrounds each prompt, with {prompt} in its place; null: nothing."
    )

    @model_validator(mode="after")
    def _require_place(self) -> Self:
        if self.prompt_template is not None and self.prompt_template.count(PLACE) != 1:
            raise ValueError("have a prompt_template that holds {prompt} once")
        return self


class CompareRequest(StrictModel):
    """Prompts, the arms that are to continue them, and how their answers are to be compared."""

    prompts: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, max_length=MAX_PROMPTS, description="Texts to continue; the unit of the statistics."
    )
    arms: list[ArmRequest] = Field(min_length=1, max_length=MAX_ARMS, description="At least two, or one with aa.")
    baseline: Name | None = Field(
        None, description="Name of the arm that the others are compared with; null: the first."
    )
    samples_per_prompt: int = Field(16, ge=1, le=MAX_SAMPLES, description="Samples of each arm for each prompt.")
    max_tokens: int = Field(64, ge=1, description="Tokens of a sample at most.")
    seed: int | None = Field(None, ge=0, le=2**53 - 1, description="Names the noise; null draws one.")
    common_random_numbers: bool = Field(
        True, description="Draw equal samples of all arms with the same noise, so that they differ by their settings."
    )
    aa: bool = Field(False, description="Add the baseline once more with other seeds: what it differs by is noise.")
    equivalence_margins: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, max_length=32, description="Per metric, the greatest difference that does not matter, to test for equality."
    )
    wait: bool = Field(False, description="Answer when it has ended, not when it is queued.")
