"""Checkpoints: whole or not there, whatever dies or fails meanwhile; damage is noticed."""

import errno
import json
import os

import numpy as np
import pytest

from server.finetuning.plan import Plan, WandbPlan
from server.finetuning.training import durable
from server.finetuning.training.checkpoints import Checkpoints
from server.finetuning.training.durable import DamagedError, checked_manifest, write_folder
from server.jobs.errors import DiskFullError, StorageError
from tests.finetuning.digits import Heard, a_plan


def a_state(step):
    return {"weight": np.full((3, 2), step, np.float32), "steps": np.array(step)}


def opened(folder, plan="plan"):
    heard = Heard()
    return Checkpoints(folder, plan, heard), heard


def save(checkpoints, step, best_step=None):
    checkpoints.save(step, a_state(step), {"step": step, "sum": 0.1 + step}, best_step)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_checkpoint_comes_back_as_it_was(tmp_path):
    checkpoints, heard = opened(tmp_path)
    assert checkpoints.newest() is None
    save(checkpoints, 3)
    save(checkpoints, 7)
    state, progress = opened(tmp_path)[0].newest()
    assert progress == {"step": 7, "sum": 7.1}
    np.testing.assert_array_equal(state["weight"], a_state(7)["weight"])
    assert state["steps"].shape == ()
    assert not heard.events


def test_the_newest_two_are_kept_and_the_best_that_either_knows(tmp_path):
    checkpoints, _ = opened(tmp_path)
    for step, best in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5)]:
        save(checkpoints, step, best)
    assert names(tmp_path) == ["step-00000003", "step-00000004", "step-00000005"]
    save(checkpoints, 6, 5)
    assert names(tmp_path) == ["step-00000005", "step-00000006"]


@pytest.mark.parametrize("damage", ["bits", "cut", "no manifest", "no state", "bad json"])
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_is_used(tmp_path, damage):
    checkpoints, heard = opened(tmp_path)
    save(checkpoints, 1, 1)
    save(checkpoints, 2, 2)
    state, manifest = tmp_path / "step-00000002" / "state.safetensors", tmp_path / "step-00000002" / "manifest.json"
    whole = state.read_bytes()
    match damage:
        case "bits":
            state.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        case "cut":
            state.write_bytes(whole[:-5])
        case "no manifest":
            manifest.unlink()
        case "no state":
            state.unlink()
        case "bad json":
            manifest.write_text("{")
    assert checkpoints.newest()[1]["step"] == 1
    (_, message, level, data) = heard.events[0]
    assert "step-00000002 cannot be used" in message
    assert (level, data) == ("warn", {"checkpoint": "step-00000002"})
    assert names(tmp_path) == ["step-00000001"]


def test_a_checkpoint_whose_best_weights_are_damaged_is_not_gone_on_with(tmp_path):
    checkpoints, heard = opened(tmp_path)
    save(checkpoints, 1, 1)
    save(checkpoints, 2, 1)
    (tmp_path / "step-00000001" / "state.safetensors").write_bytes(b"")
    with pytest.raises(DamagedError, match="SHA-256"):
        checkpoints.state(1)
    assert checkpoints.newest() is None
    assert len(heard.events) == 2


def test_a_checkpoint_of_another_plan_is_not_gone_on_with(tmp_path):
    save(opened(tmp_path)[0], 1)
    checkpoints, heard = opened(tmp_path, plan="another")
    assert checkpoints.newest() is None
    assert "another plan or other data" in heard.events[0][1]


def test_a_plan_that_a_newer_kelvin_reads_is_the_same_one():
    """Stored before its newest fields were there, or sent elsewhere: neither changes what is trained."""
    plan = a_plan()
    stored = plan.model_dump(mode="json")
    del stored["wandb"], stored["hyperparameters"]["best_by"]
    assert Plan.model_validate(stored).identity == plan.identity
    sent = plan.model_copy(update={"wandb": WandbPlan(project="p", name=None, entity=None, tags=())})
    assert sent.identity == plan.identity
    assert a_plan(best_by="macro_f1").identity != plan.identity


def test_a_full_disk_is_an_error_that_leaves_everything_as_it_was(tmp_path, monkeypatch):
    checkpoints, _ = opened(tmp_path)
    save(checkpoints, 1)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable.os, "fsync", full)
    for step in (1, 2):  # one that is there, and a new one
        with pytest.raises(DiskFullError, match="free some space on that disk"):
            save(checkpoints, step)
    assert names(tmp_path) == ["step-00000001"]
    assert checkpoints.newest()[1]["step"] == 1


def test_a_real_limit_on_files_is_found_while_the_state_is_written(tmp_path):
    """The kernel refuses to write past RLIMIT_FSIZE as it does on a full disk; in a process of its own."""
    script = f"""
import resource, signal, pathlib, numpy as np
from server.finetuning.training.checkpoints import Checkpoints
from server.jobs.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoints = Checkpoints(pathlib.Path({str(tmp_path)!r}), "plan", None)
checkpoints.save(1, {{"weight": np.zeros(10, np.float32)}}, {{}}, None)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    checkpoints.save(2, {{"weight": np.zeros(10_000, np.float32)}}, {{}}, None)
except StorageError as error:
    print("refused:", error)
"""
    import subprocess
    import sys

    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "refused:" in outcome.stdout
    assert names(tmp_path) == ["step-00000001"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    (tmp_path / ".unfinished-abc").mkdir()
    (tmp_path / ".unfinished-abc" / "state.safetensors").write_bytes(b"half")
    checkpoints, heard = opened(tmp_path)
    assert checkpoints.newest() is None
    assert names(tmp_path) == []
    assert not heard.events


def test_a_folder_that_cannot_be_written_names_the_remedy(tmp_path):
    with pytest.raises(StorageError, match="check the disk"):
        write_folder(tmp_path / "missing" / "folder", {}, {})


def test_the_manifest_is_written_last_and_lists_every_file(tmp_path):
    seen = []
    files = {name: lambda path: (path.write_text(path.name), seen.append(path.parent)) for name in ("a", "b")}
    write_folder(tmp_path / "folder", files, {"kind": "test"})
    assert seen[0].name.startswith(".unfinished-")
    manifest = checked_manifest(tmp_path / "folder")
    assert sorted(manifest["files"]) == ["a", "b"]
    assert json.loads((tmp_path / "folder" / "manifest.json").read_text()) == manifest
