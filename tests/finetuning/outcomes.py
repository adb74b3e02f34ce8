"""An outcome that nothing was trained for."""

from server.finetuning.outcome import Epoch, Figures, Interval, Judged, Outcome

EPOCH = Epoch(
    number=1, temperature=2.0, learning_rate=0.01, loss=1.0, loss_at_one=0.9, gradient_norm=3.0, validation_nll=0.75,
    validation_nll_at_training=0.8, validation_accuracy=0.5, validation_macro_f1=0.4, validation_ece=0.1, seconds=1.0,
)  # fmt: skip
FIGURES = Figures(
    accuracy=0.75, macro_f1=0.7, mcc=0.5, nll=0.6, brier=0.3, ece=0.2, adaptive_ece=0.2, classwise_ece=0.2
)
INTERVAL = Interval(low=0.5, high=0.7)


def judged(temperature, nll):
    figures = FIGURES.model_copy(update={"nll": nll})
    return Judged(
        temperature=temperature, figures=figures, intervals=dict.fromkeys(Figures.model_fields, INTERVAL),
        reliability=[(0.7, 0.75, 4)],
    )  # fmt: skip


OUTCOME = Outcome(
    classes=["complaint", "praise"],
    counts={"train": [4, 4], "validation": [1, 1], "calibration": [1, 1], "test": [2, 2]},
    epochs=[EPOCH, EPOCH.model_copy(update={"number": 2})],
    best_epoch=2, temperature_final=2.0, temperature_fitted=1.7, temperature_served=1.7,
    before=judged(1.0, 0.9), after=judged(1.7, 0.6), confusion=[[1, 1], [0, 2]], reference=None, diagnoses=[],
    search=None, parameters=12, trained_tokens=96, seconds=1.5, warnings=[],
)  # fmt: skip
