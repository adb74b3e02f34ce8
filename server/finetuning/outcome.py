"""Outcome: what a fine-tune found, as it is kept with the job and drawn by its report."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Found(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Found):
    """A 95 % interval, of a bootstrap over the rows of the test part."""

    low: float
    high: float


class Figures(_Found):
    """What `samplers.calibration` and the counts of hits say of one set of probabilities.

    Attributes:
        accuracy: share of rows whose most probable class is theirs.
        macro_f1: mean over classes of F1.
        mcc: Matthews correlation, 0 where it is undefined.
        nll: mean of -ln p(label), nats.
        brier: mean over rows of the squared distance from the label's unit vector, in [0, 2].
        ece: expected calibration error, 15 bins of equal width.
        adaptive_ece: the same with 15 bins of equal numbers of rows.
        classwise_ece: mean over classes of that of each class's own probability.
    """

    accuracy: float
    macro_f1: float
    mcc: float
    nll: float
    brier: float
    ece: float
    adaptive_ece: float
    classwise_ece: float


class Judged(_Found):
    """Figures of the test part at one temperature.

    Attributes:
        temperature: that the logits were divided by.
        figures: what came out.
        intervals: of each figure, by name.
        reliability: bins of confidence that hold rows: mean confidence, accuracy, count.
    """

    temperature: float
    figures: Figures
    intervals: dict[str, Interval]
    reliability: list[tuple[float, float, int]]


class Epoch(_Found):
    """One pass over the training part, and what the validation part said after it.

    Attributes:
        number: from 1.
        temperature: of the loss at the epoch's end.
        learning_rate: at its end.
        loss: mean training loss at the training temperature, smoothing and class weights included.
        loss_at_one: mean training NLL of the same logits at temperature 1.
        gradient_norm: mean, before clipping.
        validation_nll: at temperature 1.
        validation_nll_at_training: at the epoch's temperature.
        validation_accuracy: share of hits.
        validation_macro_f1: mean over classes.
        validation_ece: at temperature 1.
        seconds: that it took.
    """

    number: int
    temperature: float
    learning_rate: float
    loss: float
    loss_at_one: float
    gradient_norm: float
    validation_nll: float
    validation_nll_at_training: float
    validation_accuracy: float
    validation_macro_f1: float
    validation_ece: float
    seconds: float


class Member(_Found):
    """A network of an ensemble.

    Attributes:
        best_epoch: number of the epoch whose weights are kept.
        validation_nll: of that epoch, at temperature 1.
    """

    best_epoch: int
    validation_nll: float


class Ensembled(_Found):
    """What is told of an ensemble beside its figures.

    Attributes:
        members: its networks, in order.
        alone: figures of the first one alone on the test part, calibrated alike.
        cross_fitted_rows: of the training part that the temperature was fitted to, each by the logits of the network
            that had left it out; None: it was fitted to the calibration part.
    """

    members: list[Member]
    alone: Figures
    cross_fitted_rows: int | None = None


class Diagnosis(_Found):
    """Something in the figures that somebody should know, with its evidence and what to do.

    Attributes:
        code: its name, such as `ignored_classes`.
        level: how grave it is.
        message: what was seen and what helps, in words.
        evidence: the figures.
    """

    code: str
    level: Literal["info", "warn"]
    message: str
    evidence: dict[str, Any]


class Trial(_Found):
    """One setting that a search tried.

    Attributes:
        number: from 0.
        parameters: what was chosen.
        value: the objective, lower is better for `nll`, higher for `macro_f1`; None: the trial was given up early.
        spread: standard deviation of the value over folds.
    """

    number: int
    parameters: dict[str, Any]
    value: float | None
    spread: float | None


class Search(_Found):
    """What a search found.

    Attributes:
        objective: what it looked for.
        trials: in order; the first one has temperature 1.
        best: number of the best one.
        gain: of the best over the first, in the objective's unit, better is positive.
        inside_noise: whether that gain is no more than two standard errors of its folds.
    """

    objective: Literal["nll", "macro_f1"]
    trials: list[Trial]
    best: int
    gain: float
    inside_noise: bool


class Outcome(_Found):
    """Everything that is told of a fine-tune that has succeeded.

    Attributes:
        classes: their names.
        counts: rows of each class, by part: `train`, `validation`, `calibration`, `test`.
        epochs: what was seen, epoch by epoch; of an ensemble, what its first network saw.
        best_epoch: number of the epoch whose weights are kept; likewise.
        temperature_final: of the loss at the end of training.
        temperature_fitted: to the calibration part, or cross-fitted; None: nothing was fitted, or it did not improve
            on 1.
        temperature_served: that the classifier is served at.
        before: the test part at temperature 1.
        after: the same at the served temperature.
        confusion: rows of each class (first index) that were taken for each class (second).
        reference: figures of TF-IDF with logistic regression on the same rows, calibrated alike; None: not for these.
        diagnoses: what somebody should know.
        search: what was tried before; None: nothing.
        ensemble: what is known of each network; None: there is one alone.
        parameters: number of trained weights.
        trained_tokens: of the training part, as they are read, times the epochs that all networks were trained; None:
            rows of numbers.
        seconds: that everything took, interruptions left out.
        warnings: what to know before reading on.
    """

    classes: list[str]
    counts: dict[str, list[int]]
    epochs: list[Epoch]
    best_epoch: int
    temperature_final: float
    temperature_fitted: float | None
    temperature_served: float
    before: Judged
    after: Judged
    confusion: list[list[int]]
    reference: Figures | None
    diagnoses: list[Diagnosis]
    search: Search | None
    ensemble: Ensembled | None = None
    parameters: int
    trained_tokens: int | None = None
    seconds: float
    warnings: list[str]

    @property
    def calibration_rows(self) -> int:
        """Rows that the temperature was fitted to, or would have been."""
        if self.ensemble is not None and self.ensemble.cross_fitted_rows is not None:
            return self.ensemble.cross_fitted_rows
        return sum(self.counts["calibration"])
