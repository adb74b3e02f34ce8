"""Plan: a fine-tune as it was settled when it was asked for, so that a restart goes on with the same one."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Method = Literal["linear_probe", "lora", "full", "dan", "mlp", "cnn"]
ScheduleName = Literal["constant", "linear", "cosine", "exponential", "step", "piecewise"]
Coupling = Literal["none", "inverse_square", "bands"]

TEXT_METHODS: tuple[Method, ...] = ("linear_probe", "lora", "full", "dan")
NUMERIC_METHODS: tuple[Method, ...] = ("mlp", "cnn")


class _Settled(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hyperparameters(_Settled):
    """How weights are moved.

    Attributes:
        n_epochs: passes over the training part, ≥ 1.
        batch_size: rows of an optimiser's step, ≥ 1.
        accumulate: pieces that a batch is computed in, ≥ 1, to save memory; the step is the same.
        learning_rate: > 0, before warm-up, decay and coupling.
        warmup: share of all steps over which the rate rises from 0, in [0, 1).
        decay: of the rate after that, to 0 at the end, or none.
        label_smoothing: mass spread over all classes, in [0, 1).
        class_weight: `balanced`, a weight > 0 for each class by name, or None for 1 each.
        weight_decay: decoupled (AdamW), ≥ 0.
        max_grad_norm: gradients longer than this are shortened to it, > 0; None: they stay.
        early_stopping_patience: epochs without a better validation score that end training, ≥ 1; None: never.
        best_by: validation score of the best epoch: `nll`, at temperature 1, or `macro_f1`.
        max_length: tokens of a text that are read, ≥ 1.
        ensemble: networks that are trained and answer together, ≥ 1; 1 for `lora` and `full`.
        cross_fitted: whether each of them, at least two, leaves out a fold of the training part, to which the
            temperature is fitted; there is no calibration part then.
    """

    n_epochs: int
    batch_size: int
    accumulate: int
    learning_rate: float
    warmup: float
    decay: Literal["none", "linear", "cosine"]
    label_smoothing: float
    class_weight: Literal["balanced"] | dict[str, float] | None
    weight_decay: float
    max_grad_norm: float | None
    early_stopping_patience: int | None
    max_length: int
    best_by: Literal["nll", "macro_f1"] = "nll"
    ensemble: int = 1
    cross_fitted: bool = False


class TemperaturePlan(_Settled):
    """The temperature that the loss divides logits by; `samplers.schedules` has the formulas.

    Attributes:
        schedule: its name.
        start: at the first step, > 0.
        end: at the last, > 0; the start for `constant`.
        steps: levels of `step`, ≥ 2.
        points: of `piecewise`: pairs of share of training in [0, 1] and temperature, in order.
        per: whether it changes with every epoch or every step.
        lr_coupling: what it does to the learning rate.
    """

    schedule: ScheduleName
    start: float
    end: float
    steps: int
    points: tuple[tuple[float, float], ...]
    per: Literal["epoch", "step"]
    lr_coupling: Coupling


class CalibrationPlan(_Settled):
    """What is fitted after training.

    Attributes:
        method: `temperature`, or `none`.
        fraction: share of the rows that training never sees and the fit uses, in (0, 0.5]; none of them where
            networks are cross-fitted.
    """

    method: Literal["temperature", "none"]
    fraction: float


class SearchPlan(_Settled):
    """What is tried before the final training.

    Attributes:
        algorithm: `grid`, `tpe` or `gp`.
        n_trials: trainings, each with `folds`, ≥ 1; the first one has temperature 1.
        low: least temperature tried, > 0.
        high: greatest, > low; the scale between is logarithmic.
        folds: of cross-validation, ≥ 2.
        objective: validation NLL after calibration, or macro-F1.
        also: further things to choose: `end`, `schedule`, `learning_rate`.
    """

    algorithm: Literal["grid", "tpe", "gp"]
    n_trials: int
    low: float
    high: float
    folds: int
    objective: Literal["nll", "macro_f1"]
    also: tuple[Literal["end", "schedule", "learning_rate"], ...]


class WandbPlan(_Settled):
    """Where Weights & Biases shows the course of training.

    Attributes:
        project: its name.
        name: of the run; None: the job's id.
        entity: team or user; None: the key's own.
        tags: of the run.
    """

    project: str
    name: str | None
    entity: str | None
    tags: tuple[str, ...]


class Plan(_Settled):
    """What is trained on what, and how it is judged and served.

    Attributes:
        model: name of the served model whose tokenizer and weights are used; its folder is `model_dir`.
        model_dir: folder of the model, as the registry knows it.
        method: what is trained.
        framework: in which.
        training_file: id of the file with the rows.
        validation_file: id of a file for validation; None: a part of the training file.
        test_file: id of a file for the final test; None: a part of the training file.
        suffix: part of the classifier's name; None: nothing.
        seed: of splits, order, initial weights and dropout.
        hyperparameters: how weights are moved.
        temperature: of the loss.
        calibration: what is fitted afterwards.
        serving_temperature: `fitted`, `final` (that of the last step), or a number > 0.
        search: what is tried before; None: nothing.
        wandb: where else the course of training is sent; None: nowhere.
    """

    model: str
    model_dir: str
    method: Method
    framework: Literal["torch", "tensorflow"]
    training_file: str
    validation_file: str | None
    test_file: str | None
    suffix: str | None
    seed: int
    hyperparameters: Hyperparameters
    temperature: TemperaturePlan
    calibration: CalibrationPlan
    serving_temperature: Literal["fitted", "final"] | float
    search: SearchPlan | None
    wandb: WandbPlan | None = None

    @property
    def identity(self) -> str:
        """What a training depends on, for those who go on with it.

        Fields at their defaults do not count, so that a newer Kelvin, whose plans have more of them, goes on as well.
        """
        return self.model_dump_json(exclude_defaults=True, exclude={"wandb"})
