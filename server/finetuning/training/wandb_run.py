"""Weights & Biases: the course of a training as a run of theirs, where a fine-tune asks for that.

Nothing that goes wrong there harms the training: an event says so, once, and the training goes on without it.
"""

import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from server.finetuning.channel import Channel
from server.finetuning.outcome import Epoch
from server.finetuning.plan import Plan, WandbPlan
from server.finetuning.training import scalars
from server.finetuning.training.trainer import StepFigures
from server.settings import load_settings

log = logging.getLogger(__name__)

INIT_S = 30.0
FINISH_S = 6.0  # less than a server waits for a worker that it has told to stop
_SECRET = re.compile(r"[A-Za-z0-9_-]{32,}")  # a key, or what might be one


class WandbRun:
    """Sends the scalars that event files hold, under the same names and steps.

    The key is the one in the file that the setting names, else what W&B itself finds: `WANDB_API_KEY`, or `~/.netrc`.
    A run has the job's id: one that goes on after an interruption is the same run.
    """

    def __init__(self, asked: WandbPlan, plan: Plan, folder: Path, channel: Channel) -> None:
        """Prepare; the run begins with the context.

        Args:
            asked: where to send to.
            plan: what is trained; its parameters are shown with the run.
            folder: of the job, whose name is the job's id; W&B keeps its files in its `wandb`.
            channel: hears what goes wrong.
        """
        self._asked, self._plan, self._folder, self._channel = asked, plan, folder, channel
        self._run: Any = None
        self._last = 0

    def __enter__(self) -> Self:
        try:
            self._run = self._begin()
        except Exception as error:
            _tear_down()
            self._give_up("cannot be reached", error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            self._finish(exit_code=0 if kind is None else 1)

    def step(self, number: int, figures: StepFigures, temperature: float, learning_rate: float) -> None:
        """Send what an optimiser step saw; the arguments are those of `EventFiles.step`."""
        self._last = number
        self._send(scalars.of_step(figures, temperature, learning_rate))

    def epoch(self, epoch: Epoch) -> None:
        """Send what the validation part said after the last step."""
        self._send(scalars.of_epoch(epoch))

    def _begin(self) -> Any:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else its own failures go to its makers
        import wandb

        plan, asked = self._plan, self._asked
        settings = wandb.Settings(
            api_key=_key(),
            silent=True,
            console="off",
            init_timeout=INIT_S,
            finish_timeout=FINISH_S,
            finish_timeout_raises=True,
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        parts = {"hyperparameters", "temperature", "calibration", "method", "framework", "model", "seed"}
        return wandb.init(
            project=asked.project,
            entity=asked.entity,
            name=asked.name or self._folder.name,
            tags=list(asked.tags) or None,
            id=self._folder.name,
            resume="allow",
            dir=str(self._folder),
            config=plan.model_dump(mode="json", include=parts),
            settings=settings,
        )

    def _send(self, values: Mapping[str, float]) -> None:
        if self._run is None:
            return
        try:
            self._run.log(dict(values), step=self._last)
        except Exception as error:
            self._give_up("was lost", error)

    def _finish(self, exit_code: int) -> None:
        run, self._run = self._run, None
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:
            self._give_up("did not take everything", error)
        _tear_down()

    def _give_up(self, what: str, error: Exception) -> None:
        self._run = None
        said = _SECRET.sub("…", f"{type(error).__name__}: {error}".splitlines()[0])
        log.warning("Weights & Biases %s: %s", what, said)
        self._channel.event(
            "message",
            f"Weights & Biases {what} ({said}); training goes on without it, and TensorBoard's files hold the same "
            "scalars. See that WANDB_API_KEY or KELVIN_WANDB_API_KEY_FILE is set where the server runs, or set "
            "WANDB_MODE=offline and send the run later with wandb sync",
            level="warn",
            data={"integration": "wandb"},
        )


def _tear_down() -> None:
    """End W&B's own process, which holds the run's id for as long as it lives."""
    with suppress(Exception):  # it ends with this process anyway
        import wandb

        wandb.teardown()


def _key() -> str | None:
    path = load_settings().wandb_api_key_file
    return None if path is None else path.read_text(encoding="utf-8").strip()
