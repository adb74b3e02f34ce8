"""Running a plan: what the worker does once it has its orders."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from server.errors import NotFoundError
from server.finetuning.channel import Channel
from server.finetuning.outcome import Outcome
from server.finetuning.plan import Plan


def run(plan: Plan, files: Mapping[str, str], folder: Path, channel: Channel) -> Outcome:
    """Read the rows, search if that is asked for, train, calibrate and judge.

    Args:
        plan: what is trained on what.
        files: paths by id.
        folder: of the job.
        channel: hears how it goes, and says whether to stop.

    Raises:
        Stopped: the channel said so; a checkpoint is kept.
        KelvinError: the rows or the settings do not allow it.
    """
    from server.finetuning.data import load_splits
    from server.finetuning.run import run as run_splits

    return run_splits(plan, load_splits(plan, _path_of(files)), folder, channel)


def check(plan: Plan, files: Mapping[str, str]) -> dict[str, Any]:
    """Read the rows, and say what a training would make of them.

    Args:
        plan: what would be trained on what.
        files: paths by id.

    Returns:
        The findings as JSON.
    """
    from server.finetuning.data import check as check_rows

    found: dict[str, Any] = check_rows(plan, _path_of(files)).model_dump(mode="json")
    unknown = _unknown_weights(plan, found["class_counts"])
    if unknown is not None and found["class_counts"]:
        found["errors"].append(unknown)
        found["valid"] = False
    return found


def _unknown_weights(plan: Plan, counts: Mapping[str, int]) -> dict[str, Any] | None:
    weights = plan.hyperparameters.class_weight
    unknown = sorted(set(weights) - set(counts)) if isinstance(weights, dict) else []
    if not unknown:
        return None
    message = f"class_weight names a class that no row has; the rows have {', '.join(list(counts)[:20])}"
    return {"code": "unknown_class", "message": message, "param": "hyperparameters"}


def _path_of(files: Mapping[str, str]) -> Callable[[str], Path]:
    def path_of(file_id: str) -> Path:
        if file_id not in files:
            raise NotFoundError("the plan names a file that is not there; upload it again", param="training_file")
        return Path(files[file_id])

    return path_of
