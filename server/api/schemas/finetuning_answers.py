"""The answers about files and fine-tunes, in OpenAI's shapes, with Kelvin's fields beside them."""

from typing import Literal

from server.api.schemas.answers import Answer, JobFailure
from server.finetuning.outcome import Diagnosis, Figures, Interval
from server.finetuning.plan import CalibrationPlan, Method, SearchPlan, TemperaturePlan, WandbPlan


class FileAnswer(Answer):
    """An uploaded file; times are Unix seconds, and nothing expires."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: None
    filename: str
    purpose: Literal["fine-tune"]
    status: Literal["processed"]
    status_details: None


class FileList(Answer):
    """A page of files."""

    object: Literal["list"]
    data: list[FileAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeletedAnswer(Answer):
    """What was deleted."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class FinetuneProgress(Answer):
    """How far a fine-tune is; `epoch` and `step` are null before the first step."""

    fraction: float
    epoch: int | None
    step: int | None
    eta_s: float | None


class JudgedAnswer(Figures):
    """Figures of the test part at a temperature, with 95 % intervals of a bootstrap over its rows."""

    temperature: float
    intervals: dict[str, Interval]


class MetricsAnswer(Figures):
    """Figures of the test part at the served temperature, and the same at 1 (`before`) and at the served one."""

    before: JudgedAnswer
    after: JudgedAnswer


class MethodAnswer(Answer):
    """OpenAI's form of the hyperparameters."""

    type: Literal["supervised"]
    supervised: dict[str, dict[str, object]]


class IntegrationAnswer(Answer):
    """Where else the course of training is sent."""

    type: Literal["wandb"]
    wandb: WandbPlan


class FinetuneAnswer(Answer):
    """A fine-tune; times are Unix seconds."""

    id: str
    object: Literal["fine_tuning.job"]
    status: Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
    model: str
    fine_tuned_model: str | None
    created_at: int
    finished_at: int | None
    estimated_finish: int | None
    error: JobFailure | None
    training_file: str
    validation_file: str | None
    test_file: str | None
    result_files: list[str]
    trained_tokens: int | None
    seed: int
    metadata: dict[str, str]
    organization_id: str
    integrations: list[IntegrationAnswer]
    hyperparameters: dict[str, object]
    method: MethodAnswer
    task: Literal["classification"]
    framework: Literal["torch", "tensorflow"]
    method_name: Method
    suffix: str | None
    temperature: TemperaturePlan
    calibration: CalibrationPlan
    serving_temperature: Literal["fitted", "final"] | float
    search: SearchPlan | None
    progress: FinetuneProgress
    queue_position: int | None
    metrics: MetricsAnswer | None
    temperature_fitted: float | None
    temperature_served: float | None
    classifier: str | None
    diagnoses: list[Diagnosis]
    warnings: list[str]


class FinetuneList(Answer):
    """A page of fine-tunes."""

    object: Literal["list"]
    data: list[FinetuneAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FinetuneDeletedAnswer(Answer):
    """What was deleted."""

    id: str
    object: Literal["fine_tuning.job"]
    deleted: Literal[True]


class FinetuneEvent(Answer):
    """Something that happened to a fine-tune: `status`, `message`, `metrics` or `diagnosis`."""

    object: Literal["fine_tuning.job.event"]
    id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    type: str
    message: str
    data: dict[str, object]


class FinetuneEventList(Answer):
    """A page of events, newest first."""

    object: Literal["list"]
    data: list[FinetuneEvent]
    first_id: str | None
    last_id: str | None
    has_more: bool


class CheckpointMetrics(Answer):
    """What was seen of an epoch; the validation figures are at temperature 1."""

    step: int
    epoch: int
    train_loss: float
    full_valid_loss: float
    full_valid_accuracy: float
    full_valid_macro_f1: float
    temperature: float
    learning_rate: float


class CheckpointAnswer(Answer):
    """An epoch; `fine_tuned_model_checkpoint` is the classifier where it has this epoch's weights."""

    object: Literal["fine_tuning.job.checkpoint"]
    id: str
    created_at: int
    fine_tuned_model_checkpoint: str | None
    fine_tuning_job_id: str
    step_number: int
    metrics: CheckpointMetrics


class CheckpointList(Answer):
    """A page of epochs, newest first."""

    object: Literal["list"]
    data: list[CheckpointAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ClassifiedInput(Answer):
    """What an input is taken for; `label` is null where the classifier abstains."""

    index: int
    label: str | None
    probability: float
    probabilities: dict[str, float]


class ClassifyAnswer(Answer):
    """One entry an input, in their order, and the temperature that the logits were divided by."""

    object: Literal["list"]
    model: str
    data: list[ClassifiedInput]
    temperature: float
