"""The body of POST /v1/fine_tuning/jobs: OpenAI's fields, and Kelvin's beside them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from server.api.schemas.strict import StrictModel
from server.finetuning.plan import Coupling, Method, ScheduleName

MAX_EPOCHS = 10_000
MAX_BATCH = 4096
MAX_TRIALS = 500
MAX_ENSEMBLE = 32
MAX_POINTS = 64
MAX_TEMPERATURE = 100.0
MIN_TEMPERATURE = 0.01


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _auto(value: Any) -> Any:
    return None if value == "auto" else value


def _weights(value: Any) -> Any:
    weights = value.values() if isinstance(value, dict) else ()
    if value in (None, "balanced") or (weights and all(_is_number(weight) and 0 < weight <= 1e6 for weight in weights)):
        return value
    raise ValueError('be "balanced", or an object with a weight above 0 (1e6 at most) for each class by name')


def _served(value: Any) -> Any:
    if value in (None, "fitted", "final") or (_is_number(value) and MIN_TEMPERATURE <= value <= MAX_TEMPERATURE):
        return value
    raise ValueError(f"be fitted, final or a number from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}")


Temperature = Annotated[float, Field(ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)]
FileId = Annotated[str, Field(min_length=1, max_length=64)]
OrAuto = BeforeValidator(_auto)


class HyperparametersRequest(StrictModel):
    """How weights are moved; null or "auto" is what suits the method."""

    n_epochs: Annotated[int | None, OrAuto] = Field(
        None, ge=1, le=MAX_EPOCHS, description='Passes over the training part; "auto": the method\'s.'
    )
    batch_size: Annotated[int | None, OrAuto] = Field(
        None, ge=1, le=MAX_BATCH, description='Rows of a step; "auto": the method\'s.'
    )
    learning_rate_multiplier: Annotated[float | None, OrAuto] = Field(
        None, gt=0, le=1000, description='Times the method\'s own rate, in place of learning_rate; "auto": 1.'
    )
    learning_rate: float | None = Field(None, gt=0, le=10, description="Before warm-up, decay and coupling.")
    accumulate: int | None = Field(None, ge=1, le=MAX_BATCH, description="Pieces that a batch is computed in.")
    warmup: float | None = Field(None, ge=0, lt=1, description="Share of all steps over which the rate rises.")
    decay: Literal["none", "linear", "cosine"] | None = Field(None, description="Of the rate after that.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Mass spread over all classes.")
    class_weight: Annotated[Literal["balanced"] | dict[str, float] | None, BeforeValidator(_weights)] = Field(
        None, description="balanced, or a weight above 0 for each class by name; those left out have 1."
    )
    weight_decay: float | None = Field(None, ge=0, le=10, description="Decoupled, as in AdamW.")
    max_grad_norm: float | None = Field(1.0, gt=0, description="Longer gradients are shortened; null: they stay.")
    early_stopping_patience: int | None = Field(
        None, ge=1, le=MAX_EPOCHS, description="Epochs without a better validation score that end training."
    )
    best_by: Literal["nll", "macro_f1"] = Field(
        "nll", description="Validation score of the epoch whose weights are kept; NLL is at temperature 1."
    )
    max_length: int | None = Field(None, ge=1, le=131_072, description="Tokens of a text that are read.")
    ensemble: int = Field(1, ge=1, le=MAX_ENSEMBLE, description="Networks of other seeds that answer together.")
    cross_fitted: bool = Field(
        False, description="Whether each of them leaves out a fold, which the temperature is fitted to."
    )

    @model_validator(mode="after")
    def _require_one_rate(self) -> Self:
        if self.learning_rate is not None and self.learning_rate_multiplier is not None:
            raise ValueError("have learning_rate or learning_rate_multiplier, not both")
        return self


class SupervisedRequest(StrictModel):
    """OpenAI's nest around the hyperparameters."""

    hyperparameters: HyperparametersRequest = Field(HyperparametersRequest(), description="As above.")


class MethodRequest(StrictModel):
    """OpenAI's method, of which there is one here; what is trained is `method_name`."""

    type: Literal["supervised"] = Field(description="What rows are: inputs with their answers.")
    supervised: SupervisedRequest = Field(SupervisedRequest(), description="Its hyperparameters.")


class TemperatureRequest(StrictModel):
    """The temperature that the loss divides logits by."""

    schedule: ScheduleName = Field("constant", description="How it goes from start to end.")
    start: Temperature | None = Field(None, description="At the first step; null: 1 for constant, else 2.")
    end: Temperature | None = Field(None, description="At the last step; null: the start for constant, else 0.5.")
    steps: int | None = Field(None, ge=2, le=MAX_EPOCHS, description="Levels of step; null: 4.")
    points: list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None = Field(
        None, min_length=2, max_length=MAX_POINTS, description="Of piecewise: [share of training, temperature]."
    )
    per: Literal["epoch", "step"] = Field("epoch", description="What it changes with.")
    lr_coupling: Coupling = Field("none", description="What it does to the learning rate.")


class CalibrationRequest(StrictModel):
    """What is fitted after training."""

    method: Literal["temperature", "none"] = Field("temperature", description="One temperature, or nothing.")
    fraction: float = Field(0.1, gt=0, le=0.5, description="Share of the rows that is kept for it.")


class SearchRequest(StrictModel):
    """What is tried before the final training."""

    algorithm: Literal["grid", "tpe", "gp"] = Field("tpe", description="How the next trial is chosen.")
    n_trials: int = Field(15, ge=1, le=MAX_TRIALS, description="Trials; the first one has temperature 1.")
    low: Temperature = Field(0.1, description="Least temperature.")
    high: Temperature = Field(3.0, description="Greatest temperature.")
    folds: int = Field(3, ge=2, le=20, description="Of cross-validation, for each trial.")
    objective: Literal["nll", "macro_f1"] = Field("nll", description="Validation NLL once calibrated, or macro-F1.")
    also: list[Literal["end", "schedule", "learning_rate"]] = Field(
        [], max_length=3, description="What else to choose."
    )


class WandbRequest(StrictModel):
    """Where Weights & Biases shows the course of training."""

    project: str = Field(pattern=r"^[^/\\#?%:\x00-\x1f]+$", max_length=128, description="Its name there.")
    name: str | None = Field(None, min_length=1, max_length=128, description="Of the run; null: the job's id.")
    entity: str | None = Field(None, min_length=1, max_length=128, description="Team or user; null: the key's own.")
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(
        None, max_length=50, description="Of the run."
    )


class IntegrationRequest(StrictModel):
    """Where else the course of training is sent."""

    type: Literal["wandb"] = Field(description="Weights & Biases.")
    wandb: WandbRequest = Field(description="Its settings.")


class FinetuneRequest(StrictModel):
    """A fine-tune of a classifier with a temperature-scaled loss."""

    model: str | None = Field(None, max_length=200, description="Which model; null is the first that is served.")
    training_file: FileId = Field(description="Id of the file with the rows.")
    validation_file: FileId | None = Field(None, description="Id of another; null: a part of the training file.")
    test_file: FileId | None = Field(None, description="Id of another; null: a part of the training file.")
    suffix: str | None = Field(
        None, min_length=1, max_length=40, pattern=r"^[A-Za-z0-9_-]+$", description="Part of the classifier's name."
    )
    seed: int | None = Field(None, ge=0, le=2**31 - 1, description="Of splits, order, weights and dropout; null: 0.")
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=16, description="Notes of your own."
    )
    task: Literal["classification"] = Field("classification", description="What is learned.")
    framework: Literal["torch", "tensorflow"] | None = Field(None, description="In which; null: the server's.")
    method_name: Method = Field("linear_probe", description="What is trained.")
    hyperparameters: HyperparametersRequest | None = Field(None, description="How weights are moved.")
    method: MethodRequest | None = Field(None, description="OpenAI's form of hyperparameters.")
    integrations: list[IntegrationRequest] | None = Field(
        None, max_length=1, description="Where else the course of training is sent; null: nowhere."
    )
    temperature: TemperatureRequest = Field(TemperatureRequest(), description="Of the loss.")
    calibration: CalibrationRequest = Field(CalibrationRequest(), description="What is fitted afterwards.")
    serving_temperature: Annotated[Literal["fitted", "final"] | float | None, BeforeValidator(_served)] = Field(
        None, description="fitted, final or a number; null: fitted where something is fitted, else final."
    )
    search: SearchRequest | None = Field(None, description="What is tried before; null: nothing.")

    @model_validator(mode="after")
    def _require_one_nest(self) -> Self:
        if self.hyperparameters is not None and self.method is not None:
            raise ValueError("have hyperparameters or method, not both")
        return self


Input = str | list[Any]


class ClassifyRequest(StrictModel):
    """Inputs to classify."""

    model: str = Field(max_length=200, description="Name of a classifier, ft:….")
    input: str | list[Input] = Field(description="A text, texts, or numeric rows.")
    temperature: Temperature | None = Field(None, description="Divides the logits; null: the classifier's own.")
    top_k: int | None = Field(None, ge=1, description="List only so many classes of each; null: all.")
    abstain_below: float | None = Field(
        None, gt=0, le=1, description="Answer with no label where the best class is less probable than this."
    )
