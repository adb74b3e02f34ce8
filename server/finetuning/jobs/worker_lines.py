"""What a fine-tune's worker and its server say to each other: JSON, a value a line, over the worker's pipes."""

import json
import math
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict

from server.finetuning.plan import Plan

STOP = "stop"


class Order(BaseModel):
    """What a worker is to do; its first line of input.

    Attributes:
        task: `train`, or `check`: look at the files only.
        plan: what is trained on what.
        files: paths of the plan's files, by their ids.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["train", "check"]
    plan: Plan
    files: dict[str, str]


class ProgressLine(BaseModel):
    """How far training is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fraction: float
    epoch: int
    step: int
    eta_s: float | None


class EventLine(BaseModel):
    """What happened."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    message: str
    level: Literal["info", "warn", "error"]
    data: dict[str, Any]


class ErrorLine(BaseModel):
    """Why the work cannot be done; the last line of a worker that fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: str
    code: str
    param: str | None


class Line(BaseModel):
    """A line of output: one of these."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    progress: ProgressLine | None = None
    event: EventLine | None = None
    result: dict[str, Any] | None = None
    error: ErrorLine | None = None
    stopped: bool = False

    @property
    def last(self) -> bool:
        """Whether nothing comes after it."""
        return self.result is not None or self.error is not None or self.stopped


def write_line(file: IO[str], **value: Any) -> None:
    """Write a line of output at once.

    Args:
        file: the pipe.
        value: of one field of `Line`; figures that are not finite become null, as JSON has none.
    """
    file.write(json.dumps(_finite(value), separators=(",", ":"), allow_nan=False) + "\n")
    file.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        return _finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
