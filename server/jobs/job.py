"""Job and Event: what the store tells of them; frozen, so that threads can pass them on."""

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from server.jobs.status import ENDED, Status

Level = Literal["info", "warn", "error"]


class Kind(StrEnum):
    """What a job does."""

    COMPARISON = "comparison"
    FINETUNE = "finetune"


PREFIXES = {Kind.COMPARISON: "cmp", Kind.FINETUNE: "ftjob"}


def new_id(kind: Kind) -> str:
    """Make up a job's id: the kind's prefix and 96 random bits, fit for URLs and file names."""
    return f"{PREFIXES[kind]}-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was when it was read; its result, which may be large, is `JobStore.result`.

    Attributes:
        id: unique.
        kind: what it does.
        status: where in its life it is.
        request: what was asked for.
        metadata: the client's own notes.
        progress: fraction done, in [0, 1].
        eta_s: seconds left, as estimated; None: unknown.
        created_at: Unix time in seconds.
        started_at: when it first ran; None: not yet.
        finished_at: when it ended; None: not yet.
        error: message, code and param of its failure; None: it has not failed.
        cancel_requested: it runs, and is to be cancelled at its next check.
        pause_requested: it runs, and is to be paused at its next check.
        attempts: 1, and one more for each time that the server died under it since its last finished part.
        run: how often it was claimed; what an earlier run still wants to write is refused.
    """

    id: str
    kind: Kind
    status: Status
    request: dict[str, Any]
    metadata: dict[str, Any]
    progress: float
    eta_s: float | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    error: dict[str, Any] | None
    cancel_requested: bool
    pause_requested: bool
    attempts: int
    run: int

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job.

    Attributes:
        number: 1, 2, … within the job.
        created_at: Unix time in seconds.
        type: `status` for a change of status; other names are the handler's.
        level: how grave it is.
        message: for a person.
        data: for a program.
    """

    number: int
    created_at: float
    type: str
    level: Level
    message: str
    data: dict[str, Any]
