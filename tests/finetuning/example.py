"""A fine-tune made up of logits, for what is said and drawn of it."""

import numpy as np

from samplers.calibration import bootstrap_intervals, confusion, figures, fit_temperature, reliability
from server.finetuning.outcome import Epoch, Figures, Interval, Judged, Outcome, Search, Trial
from server.finetuning.plan import CalibrationPlan, Hyperparameters, Plan, SearchPlan, TemperaturePlan

TOPICS = [  # of the 20 Newsgroups
    "atheism", "graphics", "ms-windows", "pc-hardware", "mac-hardware", "windows.x", "forsale", "autos", "motorcycles",
    "baseball", "hockey", "crypt", "electronics", "medicine", "space", "christian", "guns", "mideast", "politics.misc",
    "religion.misc",
]  # fmt: skip


def plan(**changes):
    """Return a plan; changes name its fields, or those of its parts."""
    parts = {
        "hyperparameters": Hyperparameters(
            n_epochs=8, batch_size=64, accumulate=1, learning_rate=0.002, warmup=0.1, decay="linear",
            label_smoothing=0.0, class_weight=None, weight_decay=0.01, max_grad_norm=1.0,
            early_stopping_patience=None, max_length=256,
        ),
        "temperature": TemperaturePlan(
            schedule="cosine", start=2.0, end=0.5, steps=2, points=(), per="epoch", lr_coupling="none"
        ),
        "calibration": CalibrationPlan(method="temperature", fraction=0.1),
    }  # fmt: skip
    for name, part in parts.items():
        own = {key: changes.pop(key) for key in list(changes) if key in type(part).model_fields}
        parts[name] = part.model_copy(update=own)
    whole = Plan(
        model="smollm2", model_dir="/models/smollm2", method="dan", framework="torch", training_file="file-rows",
        validation_file=None, test_file=None, suffix=None, seed=7, serving_temperature="fitted", search=None, **parts,
    )  # fmt: skip
    return whole.model_copy(update=changes)


def search_plan(**changes):
    """Return a search."""
    given = {"algorithm": "tpe", "n_trials": 8, "low": 0.1, "high": 10.0, "folds": 3, "objective": "nll", "also": ()}
    return SearchPlan(**given | changes)


def judged(logits, labels, temperature):
    """Return what the test part says at a temperature."""
    intervals = bootstrap_intervals(logits, labels, temperature, resamples=100)
    return Judged(
        temperature=temperature,
        figures=Figures(**figures(logits, labels, temperature)),
        intervals={name: Interval(low=ends.low, high=ends.high) for name, ends in intervals.items()},
        reliability=[tuple(own) for own in reliability(logits, labels, temperature)],
    )


def epochs(count=8, **series):
    """Return epochs that learn; a series gives one of their figures, epoch by epoch."""
    found = []
    for place in range(count):
        fall = np.exp(-place / 2.5)
        temperature = 0.5 + 1.5 * (1 + np.cos(np.pi * place / max(1, count - 1))) / 2
        own = {
            "number": place + 1, "temperature": temperature, "learning_rate": 0.002 * (1 - place / count),
            "loss": 0.05 + 2.6 * fall, "loss_at_one": 0.08 + 2.4 * fall, "gradient_norm": 1.5 / temperature,
            "validation_nll": 1.1 + 1.3 * fall + 0.05 * max(0, place - 4),
            "validation_nll_at_training": 1.0 + 1.6 * fall + 0.12 * max(0, place - 3),
            "validation_accuracy": 0.7 - 0.35 * fall, "validation_macro_f1": 0.68 - 0.4 * fall,
            "validation_ece": 0.05 + 0.02 * place, "seconds": 4.2,
        }  # fmt: skip
        found.append(Epoch(**own | {name: values[place] for name, values in series.items()}))
    return found


def outcome(classes=5, rows=400, sharpness=2.5, names=None, seed=0, **changes):
    """Return what a fine-tune found whose logits are `sharpness` times too large."""
    noise = np.random.default_rng(seed)
    names = list(names or TOPICS[:classes])
    clean = noise.normal(size=(rows, classes)) * 2
    labels = (noise.random((rows, 1)) > np.exp(clean - _lse(clean)).cumsum(1)).sum(1).clip(0, classes - 1)
    logits = sharpness * clean
    half = rows // 2
    fitted = fit_temperature(logits[:half], labels[:half]).temperature
    test, truth = logits[half:], labels[half:]

    def split(part, share):
        return np.bincount(part, minlength=classes).tolist() if share else [0] * classes

    reference = judged(noise.normal(size=test.shape) + clean[half:] * 0.6, truth, 1.0).figures
    found = Outcome(
        classes=names,
        counts={
            "train": [8 * own for own in split(labels, 1)], "validation": split(labels, 1),
            "calibration": split(labels[:half], 1), "test": split(truth, 1),
        },
        epochs=epochs(), best_epoch=5, temperature_final=0.5, temperature_fitted=fitted, temperature_served=fitted,
        before=judged(test, truth, 1.0), after=judged(test, truth, fitted), confusion=confusion(test, truth).tolist(),
        reference=reference, diagnoses=[], search=None, parameters=3_254_020, seconds=41.5, warnings=[],
    )  # fmt: skip
    return found.model_copy(update=changes)


def _lse(logits):
    return np.log(np.exp(logits).sum(1, keepdims=True))


def search(noise=0.01, gain=0.03, objective="nll"):
    """Return a search whose best temperature is about 1.6."""
    temperatures = [1.0, 0.1, 0.32, 3.2, 10.0, 1.7, 2.2, 1.3]
    trials = []
    for number, temperature in enumerate(temperatures):
        value = 1.1 + gain * (np.log(temperature / 1.7) / np.log(1.7)) ** 2
        given_up = temperature in (0.1,)
        trials.append(
            Trial(
                number=number,
                parameters={"temperature": temperature, "learning_rate": 0.002},
                value=None if given_up else value,
                spread=None if given_up else noise,
            )
        )
    return Search(objective=objective, trials=trials, best=5, gain=gain, inside_noise=gain <= 2 * noise)
