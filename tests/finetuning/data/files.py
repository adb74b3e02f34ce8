"""Data sets on the disk, and plans that name them."""

import json

from server.finetuning.plan import CalibrationPlan, Hyperparameters, Plan, TemperaturePlan

HYPERPARAMETERS = Hyperparameters(
    n_epochs=3,
    batch_size=16,
    accumulate=1,
    learning_rate=1e-3,
    warmup=0.0,
    decay="none",
    label_smoothing=0.0,
    class_weight=None,
    weight_decay=0.0,
    max_grad_norm=1.0,
    early_stopping_patience=None,
    max_length=64,
)
TEMPERATURE = TemperaturePlan(
    schedule="constant", start=1.0, end=1.0, steps=2, points=(), per="epoch", lr_coupling="none"
)


def plan(**changed):
    """Make a plan that reads texts from the file `train`."""
    given = {
        "model": "fake",
        "model_dir": "/fake",
        "method": "dan",
        "framework": "torch",
        "training_file": "train",
        "validation_file": None,
        "test_file": None,
        "suffix": None,
        "seed": 0,
        "hyperparameters": HYPERPARAMETERS,
        "temperature": TEMPERATURE,
        "calibration": CalibrationPlan(method="temperature", fraction=0.1),
        "serving_temperature": "fitted",
        "search": None,
    }
    return Plan(**given | changed)


def write(folder, name, content):
    """Write a file of bytes, of text as UTF-8, or of JSON objects a line; returns its path."""
    if isinstance(content, list):
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(counts, *, prefix="row"):
    """Return so many rows of each class, all different."""
    return [
        {"text": f"{prefix} {place} of {label}", "label": label}
        for label, count in counts.items()
        for place in range(count)
    ]
