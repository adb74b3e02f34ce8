"""A fine-tune as clients see it: OpenAI's objects, with Kelvin's fields beside them."""

import time
from typing import Any

from server.finetuning.jobs.artifacts import artifacts
from server.finetuning.jobs.job import OUTCOME, read_progress
from server.finetuning.plan import Plan
from server.finetuning.serving.classifiers import Classifiers
from server.jobs.job import Event, Job
from server.jobs.status import Status
from server.jobs.store import JobStore

EVENT_PREFIX = "ftevent"


def describe(job: Job, store: JobStore, classifiers: Classifiers) -> dict[str, Any]:
    """Describe a fine-tune, from the store and its files.

    Args:
        job: of a fine-tune.
        store: where it is.
        classifiers: where its classifier is, if it has one.
    """
    plan = Plan.model_validate(job.request)
    result = store.result(job.id) if job.status is Status.SUCCEEDED else None
    outcome = result[OUTCOME] if result else {}
    classifier = result["classifier"] if result else None
    running = job.status is Status.RUNNING and job.eta_s is not None
    hyperparameters = plan.hyperparameters.model_dump() | {"learning_rate_multiplier": None}
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "status": job.status.value,
        "model": plan.model,
        "fine_tuned_model": classifier,
        "created_at": int(job.created_at),
        "finished_at": None if job.finished_at is None else int(job.finished_at),
        "estimated_finish": int(time.time() + (job.eta_s or 0.0)) if running else None,
        "error": job.error,
        "training_file": plan.training_file,
        "validation_file": plan.validation_file,
        "test_file": plan.test_file,
        "result_files": list(artifacts(job, store, classifiers)) if result else [],
        "trained_tokens": outcome.get("trained_tokens"),
        "seed": plan.seed,
        "metadata": job.metadata,
        "organization_id": "kelvin",
        "integrations": [] if plan.wandb is None else [{"type": "wandb", "wandb": plan.wandb.model_dump(mode="json")}],
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "task": "classification",
        "framework": plan.framework,
        "method_name": plan.method,
        "suffix": plan.suffix,
        "temperature": plan.temperature.model_dump(mode="json"),
        "calibration": plan.calibration.model_dump(),
        "serving_temperature": plan.serving_temperature,
        "search": None if plan.search is None else plan.search.model_dump(mode="json"),
        "progress": _progress(job, store),
        "queue_position": store.queue_position(job.id) if job.status is Status.QUEUED else None,
        "metrics": _metrics(outcome),
        "temperature_fitted": outcome.get("temperature_fitted"),
        "temperature_served": outcome.get("temperature_served"),
        "classifier": classifier,
        "diagnoses": outcome.get("diagnoses", []),
        "warnings": outcome.get("warnings", []),
    }


def describe_event(event: Event) -> dict[str, Any]:
    """Describe an event; its id ends with its number within the job."""
    return {
        "object": "fine_tuning.job.event",
        "id": f"{EVENT_PREFIX}-{event.number}",
        "created_at": int(event.created_at),
        "level": event.level,
        "type": event.type,
        "message": event.message,
        "data": event.data,
    }


def describe_checkpoint(job: Job, epoch: dict[str, Any], classifier: str | None) -> dict[str, Any]:
    """Describe what was kept after an epoch.

    Args:
        job: of the fine-tune.
        epoch: what was seen.
        classifier: its name, if it has the weights of this epoch.
    """
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftckpt-{job.id.partition('-')[2]}-{epoch['epoch']}",
        "created_at": int(epoch["created_at"]),
        "fine_tuned_model_checkpoint": classifier,
        "fine_tuning_job_id": job.id,
        "step_number": epoch["step"],
        "metrics": {
            "step": epoch["step"],
            "epoch": epoch["epoch"],
            "train_loss": epoch["loss"],
            "full_valid_loss": epoch["validation_nll"],
            "full_valid_accuracy": epoch["validation_accuracy"],
            "full_valid_macro_f1": epoch["validation_macro_f1"],
            "temperature": epoch["temperature"],
            "learning_rate": epoch["learning_rate"],
        },
    }


def _progress(job: Job, store: JobStore) -> dict[str, Any]:
    place = read_progress(store.folder(job.id))
    return {
        "fraction": job.progress,
        "epoch": None if place is None else place.epoch,
        "step": None if place is None else place.step,
        "eta_s": job.eta_s,
    }


def _metrics(outcome: dict[str, Any]) -> dict[str, Any] | None:
    """Return the figures of the test part: at the served temperature, and as they were before and are after."""
    if not outcome:
        return None
    judged = {name: outcome[name] for name in ("before", "after")}
    return outcome["after"]["figures"] | {
        name: {"temperature": own["temperature"], "intervals": own["intervals"]} | own["figures"]
        for name, own in judged.items()
    }
