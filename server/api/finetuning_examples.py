"""Examples of files and fine-tunes for the documentation; tests hold them to their schemas."""

import json
from typing import Any

ROWS = '{"text": "the parcel came broken", "label": "complaint"}\n{"text": "thank you, it fits", "label": "praise"}\n'
FORM = (
    '--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    '--x\r\nContent-Disposition: form-data; name="file"; filename="train.jsonl"\r\n\r\n' + ROWS + "\r\n--x--\r\n"
)
FILE: dict[str, Any] = {
    "id": "file-3f1c0e9a7b5d42868a61c4e2",
    "object": "file",
    "bytes": len(ROWS),
    "created_at": 1795516700,
    "expires_at": None,
    "filename": "train.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
    "status_details": None,
}
FILE_LIST: dict[str, Any] = {
    "object": "list",
    "data": [FILE],
    "first_id": FILE["id"],
    "last_id": FILE["id"],
    "has_more": False,
}
FILE_DELETED: dict[str, Any] = {"id": FILE["id"], "object": "file", "deleted": True}

REQUEST: dict[str, Any] = {
    "model": "smollm2",
    "training_file": FILE["id"],
    "suffix": "letters",
    "seed": 0,
    "method_name": "dan",
    "hyperparameters": {"n_epochs": 3, "batch_size": 16},
    "temperature": {"schedule": "linear", "start": 2.0, "end": 0.5},
}
_FIGURES = {
    "accuracy": 0.9067,
    "macro_f1": 0.9052,
    "mcc": 0.8601,
    "nll": 0.2914,
    "brier": 0.1411,
    "ece": 0.0332,
    "adaptive_ece": 0.0298,
    "classwise_ece": 0.0341,
}
_INTERVALS = {"accuracy": {"low": 0.8667, "high": 0.94}}
_HYPERPARAMETERS: dict[str, Any] = {
    "n_epochs": 3,
    "batch_size": 16,
    "accumulate": 1,
    "learning_rate": 0.004,
    "warmup": 0.05,
    "decay": "cosine",
    "label_smoothing": 0.0,
    "class_weight": None,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "early_stopping_patience": None,
    "best_by": "nll",
    "max_length": 256,
    "ensemble": 1,
    "cross_fitted": False,
    "learning_rate_multiplier": None,
}
JOB: dict[str, Any] = {
    "id": "ftjob-6c20b1f8d94e4a7b8e35f0a1",
    "object": "fine_tuning.job",
    "status": "succeeded",
    "model": "smollm2",
    "fine_tuned_model": "ft:smollm2:letters:8e35f0a1",
    "created_at": 1795516800,
    "finished_at": 1795516809,
    "estimated_finish": None,
    "error": None,
    "training_file": FILE["id"],
    "validation_file": None,
    "test_file": None,
    "result_files": ["manifest.json", "weights.safetensors"],
    "trained_tokens": 27360,
    "seed": 0,
    "metadata": {},
    "organization_id": "kelvin",
    "integrations": [],
    "hyperparameters": _HYPERPARAMETERS,
    "method": {"type": "supervised", "supervised": {"hyperparameters": _HYPERPARAMETERS}},
    "task": "classification",
    "framework": "torch",
    "method_name": "dan",
    "suffix": "letters",
    "temperature": {
        "schedule": "linear",
        "start": 2.0,
        "end": 0.5,
        "steps": 4,
        "points": [],
        "per": "epoch",
        "lr_coupling": "none",
    },
    "calibration": {"method": "temperature", "fraction": 0.1},
    "serving_temperature": "fitted",
    "search": None,
    "progress": {"fraction": 1.0, "epoch": 2, "step": 45, "eta_s": None},
    "queue_position": None,
    "metrics": _FIGURES
    | {
        "before": {"temperature": 1.0, "intervals": _INTERVALS} | _FIGURES | {"nll": 0.4127, "ece": 0.1208},
        "after": {"temperature": 1.7, "intervals": _INTERVALS} | _FIGURES,
    },
    "temperature_fitted": 1.7,
    "temperature_served": 1.7,
    "classifier": "ft:smollm2:letters:8e35f0a1",
    "diagnoses": [],
    "warnings": [],
}
JOB_LIST: dict[str, Any] = FILE_LIST | {"data": [JOB], "first_id": JOB["id"], "last_id": JOB["id"]}
JOB_DELETED: dict[str, Any] = {"id": JOB["id"], "object": "fine_tuning.job", "deleted": True}
_EVENT: dict[str, Any] = {
    "object": "fine_tuning.job.event",
    "id": "ftevent-3",
    "created_at": 1795516801,
    "level": "info",
    "type": "status",
    "message": "the job is running",
    "data": {"status": "running"},
}
EVENT_LIST: dict[str, Any] = FILE_LIST | {"data": [_EVENT], "first_id": _EVENT["id"], "last_id": _EVENT["id"]}
EVENTS = (
    f"id: 3\ndata: {json.dumps(_EVENT, separators=(',', ':'))}\n\n"
    'data: {"type":"progress","status":"running","progress":0.33,"eta_s":0.8}\n\n'
    "data: [DONE]\n\n"
)
_CHECKPOINT: dict[str, Any] = {
    "object": "fine_tuning.job.checkpoint",
    "id": "ftckpt-6c20b1f8d94e4a7b8e35f0a1-3",
    "created_at": 1795516808,
    "fine_tuned_model_checkpoint": JOB["classifier"],
    "fine_tuning_job_id": JOB["id"],
    "step_number": 45,
    "metrics": {
        "step": 45,
        "epoch": 3,
        "train_loss": 0.2713,
        "full_valid_loss": 0.3021,
        "full_valid_accuracy": 0.9,
        "full_valid_macro_f1": 0.8987,
        "temperature": 0.5,
        "learning_rate": 0.002,
    },
}
CHECKPOINT_LIST: dict[str, Any] = FILE_LIST | {
    "data": [_CHECKPOINT],
    "first_id": _CHECKPOINT["id"],
    "last_id": _CHECKPOINT["id"],
}
CLASSIFY: dict[str, Any] = {"model": JOB["classifier"], "input": ["the box was empty"]}
CLASSIFY_ANSWER: dict[str, Any] = {
    "object": "list",
    "model": JOB["classifier"],
    "data": [
        {
            "index": 0,
            "label": "complaint",
            "probability": 0.8713,
            "probabilities": {"complaint": 0.8713, "praise": 0.1287},
        }
    ],
    "temperature": 1.7,
}
VALIDATION: dict[str, Any] = {
    "valid": False,
    "errors": [
        {
            "code": "invalid_lines",
            "message": "training_file has 1 line that cannot be used: line 41: text is empty; leave the row out",
            "param": "training_file",
        }
    ],
    "warnings": ["the temperature will be fitted to 4 rows; it is uncertain below 200"],
    "rows": {"training_file": 40},
    "bad_lines": [
        {
            "line": 41,
            "field": "text",
            "column": None,
            "code": "empty_text",
            "message": "text is empty; leave the row out",
            "file": "training_file",
        }
    ],
    "bad_line_count": 1,
    "bad_line_counts": {"empty_text": 1},
    "empty_texts": 1,
    "input": "text",
    "shape": None,
    "class_counts": {"complaint": 24, "praise": 16},
    "splits": {"train": 28, "validation": 4, "calibration": 4, "test": 4},
    "split_counts": {
        "train": {"complaint": 17, "praise": 11},
        "validation": {"complaint": 3, "praise": 1},
        "calibration": {"complaint": 2, "praise": 2},
        "test": {"complaint": 2, "praise": 2},
    },
    "duplicates": 0,
    "conflicts": 0,
    "leaks": 0,
    "rare_classes": {},
    "steps_per_epoch": 2,
    "steps": 6,
    "search_trainings": 0,
}
