"""A worker whose training takes as long as it is told and learns nothing: `python -m tests.finetuning.fake_worker`.

The job's suffix says what happens, its seed how many milliseconds an epoch takes.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from server.errors import InvalidRequestError
from server.finetuning.channel import Stopped
from server.finetuning.jobs.worker import main
from tests.finetuning.outcomes import EPOCH, OUTCOME


def work(order, folder, channel):
    """Check that no line says `wrong`, or train epoch by epoch with a checkpoint after each."""
    text = Path(order.files[order.plan.training_file]).read_text()
    if order.task == "check":
        if order.plan.suffix == "slow-check":
            time.sleep(60)
        wrong = [number for number, line in enumerate(text.splitlines(), start=1) if "wrong" in line]
        errors = [{"code": "wrong", "message": f"line {line} is wrong", "param": "training_file"} for line in wrong]
        bad = [
            {"file": "training_file", "line": line, "field": "text", "column": None, "code": "wrong", "message": "no"}
            for line in wrong
        ]
        return {"valid": not wrong, "errors": errors, "bad_lines": bad}
    return train(order.plan, folder, channel)


def train(plan, folder, channel):
    checkpoint = folder / "checkpoints" / "epoch"
    checkpoint.parent.mkdir(exist_ok=True)
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    epochs = plan.hyperparameters.n_epochs
    print("a library says something that is no JSON")
    for epoch in range(done + 1, epochs + 1):
        with (folder / "begun.txt").open("a") as begun:
            begun.write(f"{epoch} {os.getpid()}\n")
        misbehave(plan.suffix, epoch, done)
        pause(plan, channel)
        checkpoint.write_text(str(epoch))
        channel.progress(epoch / epochs, epoch=epoch - 1, step=10 * epoch, eta_s=1.0 * (epochs - epoch))
        data = EPOCH.model_dump() | {"number": epoch, "epoch": epoch, "step": 10 * epoch}
        channel.event("metrics", f"epoch {epoch} of {epochs}", data=data)
    channel.progress(0.0, epoch=0, step=0, eta_s=None)
    classifier = folder / "classifier"
    classifier.mkdir(exist_ok=True)
    (classifier / "weights.json").write_text(json.dumps({"epochs": epochs}))
    return OUTCOME.model_dump(mode="json")


def pause(plan, channel):
    """Wait as long as an epoch takes, and stop if that is asked."""
    until_s = time.monotonic() + plan.seed / 1000
    while time.monotonic() < until_s:
        time.sleep(0.005)
        if channel.should_stop and plan.suffix != "deaf":
            raise Stopped


def misbehave(suffix, epoch, done):
    if epoch != 2:
        return
    if suffix == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if suffix == "exits":
        print("these are its last words", file=sys.stderr, flush=True)
        os._exit(3)
    if suffix == "oom":
        raise MemoryError
    if suffix == "broken":
        raise RuntimeError("a secret path")
    if suffix == "refuses":
        raise InvalidRequestError("the rows have one class; give two at least", param="training_file")
    if suffix == "full":
        raise OSError(28, "No space left on device")


if __name__ == "__main__":
    main(work)
